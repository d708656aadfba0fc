"""Every way to adapt a backbone, through the command line: searched, confirmed, compared, kept."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

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
