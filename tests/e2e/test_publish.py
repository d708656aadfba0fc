"""What MLflow gets at a sweep's end besides its runs: models, figures, registered versions."""

from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from tests.conftest import Command, tiny_space

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_the_best_model_is_registered_and_the_others_on_request(
    sweep: Command, images: Path, tmp_path: Path
) -> None:
    dataset = {"name": "cells", "layout": "folder", "path": str(images / "cells")}
    space = tiny_space("s", dataset, freeze=["frozen", "knn"])
    done = sweep("launch", "--space", space, "--local", "--register")
    assert done.code == 0, done.err
    uri = f"sqlite:///{Path('mlflow.db').absolute()}"
    client = MlflowClient(uri)
    version = client.get_model_version_by_alias("s-cells", "best")
    assert int(version.version) == 1
    run = client.get_run(version.run_id)
    assert {item.path for item in client.list_artifacts(version.run_id, "figures")} == {
        "figures/roc.svg", "figures/reliability.svg", "figures/validation.svg",
    }  # fmt: skip

    drawn = client.download_artifacts(version.run_id, "figures/roc.svg", str(tmp_path))
    head = Path(drawn).read_text().partition(">")[0]  # MLflow shows no image without a size
    assert {f" {side}=" in head for side in ("width", "height")} == {True}

    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model("models:/s-cells@best")
    cell = run.data.tags["sweep.cell"]
    picture = images / "cells" / "light" / "003.png"
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))
    said = model.predict((pixels.transpose(2, 0, 1)[None] / 255).astype(np.float32))
    assert sweep("predict", "s", cell, picture, "--output", "p.csv").code == 0
    told = pd.read_csv("p.csv")[["p_dark", "p_light"]].to_numpy()
    assert np.abs(said - told).max() < 1e-2  # this resizing is not exactly that of the store
    assert np.abs(said.sum() - 1) < 1e-5

    (experiment,) = [e for e in client.search_experiments() if e.name == "s"]
    assert len(client.search_logged_models([experiment.experiment_id])) == 1
    assert sweep("sync", "s", "--models").code == 0
    assert len(client.search_logged_models([experiment.experiment_id])) == 2
    again = sweep("sync", "s", "--models", "--register")
    assert "models in MLflow" not in again.err
    assert sweep("verify", "s").code == 0


def test_what_mlflow_gets_can_be_switched_off_and_a_wrong_word_is_refused(
    sweep: Command, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = {"name": "cells", "layout": "folder", "path": str(images / "cells")}
    space = tiny_space("s", dataset)
    monkeypatch.setenv("SWEEP_MLFLOW_MODELS", "some")
    refused = sweep("launch", "--space", space, "--local")
    assert (refused.code, "must be best, all or none" in refused.err) == (2, True)
    monkeypatch.setenv("SWEEP_MLFLOW_MODELS", "none")
    assert sweep("launch", "--space", space, "--local").code == 0
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "s"]
    assert client.search_logged_models([experiment.experiment_id]) == []
