"""Every way to adapt a backbone, through the command line: searched, confirmed, compared, kept."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

from sweep.records.home import hashed_id
from tests.conftest import Command, tiny_space

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

HEADS = ["knn", "prototypes", "logreg"]
TRAINED = ["lora:2", "lp-ft"]


def test_every_mode_is_searched_compared_and_kept(sweep: Command, images: Path) -> None:
    dataset = {"name": "cells", "layout": "folder", "path": str(images / "cells")}
    space = tiny_space(
        "s", dataset, freeze=[*HEADS, *TRAINED], budget={"trials": 2, "epochs": 2}, seeds=3,
        search={"n_neighbors": [1, 3], "class_weights": ["none", "balanced"]}, edges="keep",
    )  # fmt: skip
    done = sweep("launch", "--space", space, "--local")
    assert done.code == 0, done.err
    assert sweep("verify", "s").code == 0
    cells = json.loads(sweep("compare", "s", "--format", "json").out)["cells"]
    rates = {cell["freeze"]: cell["learning_rate"] for cell in cells}
    assert rates.keys() == {*HEADS, *TRAINED}
    assert all(rates[mode] is None for mode in HEADS)
    assert all(rates[mode] > 0 for mode in TRAINED)
    assert sweep("report", "s", "--output", "report.html").code == 0
    kept = [load_file(path) for path in Path("sweeps/s/models").glob("*/model.safetensors")]
    assert len(kept) == len(cells)
    assert not any("parametrizations" in name for state in kept for name in state)


def test_a_mode_that_a_network_cannot_have_is_found_before_anything_runs(
    sweep: Command, images: Path
) -> None:
    dataset = {"name": "cells", "layout": "folder", "path": str(images / "cells")}
    space = tiny_space("s", dataset, freeze=["lora"])
    done = sweep("launch", "--space", space, "--dry-run")
    assert done.code == 2
    assert "lora:r" in done.err


@pytest.mark.parametrize("refit", [False, True])
def test_every_kept_model_gives_the_stored_predictions_by_what_its_json_says(
    sweep: Command, images: Path, refit: bool
) -> None:
    dataset = {"name": "cells", "layout": "folder", "path": str(images / "cells")}
    space = tiny_space(
        "s", dataset, freeze=["knn", "prototypes", "logreg", "frozen", "full"], image_size=160,
        backbones=[{"name": "small", "model": "test_vit", "weights": "none"}], seeds=1,
        search={"features": ["mean", "cls+mean", "last4"], "n_neighbors": [3, 5]},
        budget={"trials": 3, "epochs": 2}, recipe={"refit": refit},
    )  # fmt: skip
    done = sweep("launch", "--space", space, "--local")
    assert done.code == 0, done.err
    assert ("refitted" in done.err) == refit
    key = bytes.fromhex(Path("sweeps/.ids.key").read_text())
    checked = set()
    for path in Path("sweeps/s/runs").glob("*.json"):
        record = json.loads(path.read_text())
        if record["kind"] != "confirmation":
            continue
        folder = Path("sweeps/s/models") / record["model"]
        about = json.loads((folder / "model.json").read_text())
        stored = pd.read_parquet(Path("sweeps/s/predictions") / record["predictions"])
        classes = [f"p_{label}" for label in about["classes"]]
        for file in sorted((images / "cells").rglob("*.png")):
            sample = hashed_id(key, f"cells/{file.relative_to(images / 'cells')}")
            if (row := stored[stored["sample"] == sample]).empty:
                continue
            found = predict(about, load_file(folder / "model.safetensors"), file)
            assert found == pytest.approx(row[classes].to_numpy(float)[0], abs=1e-4)
            checked.add(record["freeze"])
    assert checked == {"knn", "prototypes", "logreg", "frozen", "full"}


def predict(about: dict[str, Any], state: dict[str, torch.Tensor], file: Path) -> list[float]:
    """Return the probabilities of an image, by the Python in model.json and nothing of ours."""
    side = [about["image_size"]] * 2
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    image = image.resize(side, Image.Resampling[about["interpolation"].upper()])
    pixels = (torch.from_numpy(np.array(image)) / 255 - torch.tensor(about["mean"])) / torch.tensor(
        about["std"]
    )
    images = pixels.permute(2, 0, 1)[None]
    trunk = timm.create_model(about["model"], pretrained=False, **about["kwargs"]).eval()
    apart = ("head.", "linear_head.") if about["kwargs"]["num_classes"] == 0 else ()
    own = {name: item for name, item in state.items() if not name.startswith(apart or ("-",))}
    trunk.load_state_dict(own)
    with torch.inference_mode():
        if not apart:
            return trunk(images).softmax(1)[0].tolist()
        expression = about["load"].partition("features = ")[2].partition("; logits")[0]
        features = eval(expression, {"trunk": trunk, "images": images, "torch": torch})
        if "head" not in about:
            logits = features @ state["linear_head.weight"].T + state["linear_head.bias"]
            return logits.softmax(1)[0].tolist()
        buffers = {name[5:]: item for name, item in state.items() if name.startswith("head.")}
        names = {
            "features": features, "head": SimpleNamespace(**buffers), "zeros": torch.zeros,
            "normalize": torch.nn.functional.normalize, "len": len, **about["head"],
        }  # fmt: skip
        exec(about["head"]["logits"], names)
        return names["logits"].softmax(1)[0].tolist()
