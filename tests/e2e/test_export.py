"""The winner elsewhere: what is exported gives the predictions that its confirmation has stored."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from sweep.records.home import hashed_id
from sweep.train.neighbors import KNNHead
from tests.conftest import Command, Outcome, write_images
from tests.running import Sweep

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MODES = ["frozen", "full", "knn"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, and a finished sweep of cells of each kind of head."""
    folder = tmp_path_factory.mktemp("export")
    for label, brightness in (("dark", 70), ("light", 180)):
        write_images(folder / "cells" / label, 20, brightness)
    space = {
        "name": "s",
        "datasets": [{"name": "cells", "layout": "folder", "path": str(folder / "cells")}],
        "backbones": [{"name": "small", "model": "test_resnet", "weights": "none"}],
        "freeze": MODES, "image_size": 32, "budget": {"trials": 2, "epochs": 2}, "seeds": 1,
        "edges": "keep",
    }  # fmt: skip
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    Sweep(folder, "s").run("launch", "--space", "space.yaml", "--local")
    return folder


Export = Callable[..., Outcome]


@pytest.fixture
def export(sweep: Command, home: Path) -> Export:
    """Export the model of a cell into the folder out, which is not there yet."""

    def run(mode: str, *more: str) -> Outcome:
        where = ("--output", "out", "--home", home / "sweeps")
        return sweep("export", "s", f"cells/small/{mode}", *where, *more)

    return run


def stored(home: Path, mode: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the test images (N, 3, S, S) of a cell, from 0 to 1, and what was predicted (N, 2)."""
    key = bytes.fromhex((home / "sweeps/.ids.key").read_text())
    files = {
        hashed_id(key, f"cells/{path.relative_to(home / 'cells')}"): path
        for path in (home / "cells").rglob("*.png")
    }
    for path in (home / "sweeps/s/runs").glob("*.json"):
        record = json.loads(path.read_text())
        if record["kind"] == "confirmation" and record["freeze"] == mode:
            table = pd.read_parquet((home / "sweeps/s/predictions") / record["predictions"])
            opened = [Image.open(files[sample]).convert("RGB") for sample in table["sample"]]
            resized = [item.resize((32, 32), Image.Resampling.BILINEAR) for item in opened]
            pixels = np.stack([np.asarray(item) for item in resized]).transpose(0, 3, 1, 2)
            return (pixels / 255).astype(np.float32), table[["p_dark", "p_light"]].to_numpy()
    raise AssertionError(f"{mode} has no confirmation")


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_timm_loads_the_folder_and_its_preprocessing(export: Export, home: Path, mode: str) -> None:
    done = export(mode)
    assert done.code == 0, done.err
    model = timm.create_model("local-dir:out", pretrained=True).eval()
    config = timm.data.resolve_data_config(model=model)
    assert config["input_size"] == [3, 32, 32]
    transform = timm.data.create_transform(**config)
    pixels, wanted = stored(home, mode)
    pictures = [
        Image.fromarray((item.transpose(1, 2, 0) * 255).round().astype(np.uint8)) for item in pixels
    ]
    batch = torch.stack([transform(picture) for picture in pictures])
    with torch.inference_mode():
        found = model(batch).softmax(1).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert json.loads(Path("out/config.json").read_text())["label_names"] == ["dark", "light"]


@pytest.mark.parametrize("mode", MODES)
def test_onnxruntime_gives_the_stored_predictions_for_any_number_of_images(
    export: Export, home: Path, mode: str
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra test")
    done = export(mode, "--format", "onnx")
    assert done.code == 0, done.err
    session = onnxruntime.InferenceSession("out/model.onnx")
    pixels, wanted = stored(home, mode)
    (found,) = session.run(None, {"images": pixels})
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    (one,) = session.run(None, {"images": pixels[:1]})
    np.testing.assert_allclose(one, wanted[:1], atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_mlflow_gives_the_stored_predictions_without_this_package(
    export: Export, home: Path, mode: str
) -> None:
    done = export(mode, "--format", "mlflow")
    assert done.code == 0, done.err
    pixels, wanted = stored(home, mode)
    found = mlflow.pyfunc.load_model("out").predict(pixels)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    example = mlflow.models.Model.load("out").load_input_example("out")
    assert example.shape == (2, 3, 32, 32)
    assert example.std() > 0.2  # noise
    assert "sweep" not in Path("out/requirements.txt").read_text()


def test_mlflow_models_predict_takes_the_example(export: Export) -> None:
    assert export("frozen", "--format", "mlflow").code == 0
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "models", "predict", "--model-uri", "out", "--env-manager",
         "local", "--input-path", "out/serving_input_example.json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])["predictions"]
    np.testing.assert_allclose(np.sum(answer, axis=1), [1, 1], atol=1e-5)


@pytest.mark.parametrize("style", ["timm", "onnx", "mlflow"])
def test_the_program_of_the_card_gives_what_sweep_predicts(
    export: Export, home: Path, sweep: Command, style: str
) -> None:
    assert export("full", "--format", style).code == 0
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    Image.fromarray(noise).save("out/picture.jpeg", exif=turned)
    program = Path("out/README.md").read_text().partition("```python\n")[2].partition("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd="out", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    predicted = ("predict", "s", "cells/small/full", "out/picture.jpeg", "--output", "p.csv")
    assert sweep(*predicted, "--home", home / "sweeps").code == 0
    (row,) = pd.read_csv("p.csv").to_dict("records")
    found = [float(value) for value in re.findall(r"\d\.[\de-]+", done.stdout)]
    np.testing.assert_allclose(found, [row["p_dark"], row["p_light"]], atol=1e-4)


@pytest.mark.parametrize("style", ["onnx", "mlflow"])
def test_a_model_that_standardises_its_images_is_not_said_to_want_it_done(
    export: Export, style: str
) -> None:
    assert export("full", "--format", style).code == 0
    for path in Path("out").iterdir():
        if path.suffix in {".json", ".md"} or path.name == "MLmodel":
            assert "divided by std" not in path.read_text()
    assert "which the model itself standardises" in Path("out/README.md").read_text()


def test_the_card_says_data_metrics_and_limits(export: Export) -> None:
    assert export("full").code == 0
    card = Path("out/README.md").read_text()
    for words in ("dark, light", "train 24, val 8, test 8", "| AUROC |", "## Limits", "licence"):
        assert words in card


def test_a_head_that_is_no_classifier_of_timm_is_refused_and_nothing_is_left(
    export: Export,
) -> None:
    done = export("knn")
    assert done.code == 2
    assert "--format onnx" in done.err
    assert not Path("out").exists()


@pytest.mark.parametrize("style", ["onnx", "mlflow"])
def test_a_network_that_was_traced_for_one_number_of_images_is_refused(
    export: Export, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    def vote(self: KNNHead, nearest: torch.Tensor, labels: torch.Tensor, _: float) -> torch.Tensor:
        shares = nearest.new_zeros(len(nearest), self.classes)  # len() makes it a constant
        return shares.scatter_add_(1, labels, nearest)

    monkeypatch.setattr(KNNHead, "vote", vote)
    done = export("knn", "--format", style)
    assert done.code == 2
    assert "any number of images" in done.err
    assert not Path("out").exists()


def test_what_is_wrong_is_said(export: Export) -> None:
    unknown = export("ful")
    assert "did you mean cells/small/full" in unknown.err
    style = export("full", "--format", "onxx")
    assert "did you mean onnx" in style.err
    Path("out").mkdir()
    there = export("full")
    assert "is there already" in there.err
    assert [item.code for item in (unknown, style, there)] == [2, 2, 2]
