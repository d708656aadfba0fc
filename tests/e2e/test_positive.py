"""The positive class through the command line: named, and no accident of its name."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Command, tiny_space, write_images

pytestmark = pytest.mark.e2e


@pytest.fixture
def two_names(tmp_path: Path) -> Path:
    """The same pictures in two tables, in which the healthy class has two names."""
    write_images(tmp_path / "data" / "img", 60, 120)
    ill = np.random.default_rng(0).permutation(60) < 15
    for healthy in ("normal", "benign"):
        rows = [f"img/{i:03}.png,{'malignant' if ill[i] else healthy}" for i in range(60)]
        (tmp_path / "data" / f"{healthy}.csv").write_text("\n".join(["path,label", *rows]))
    return tmp_path / "data"


def entry(healthy: str, **more: str) -> dict[str, str]:
    return {"name": healthy, "layout": "csv", "path": f"{healthy}.csv", **more}


def test_the_same_pictures_give_one_auprc_whatever_the_healthy_class_is_called(
    sweep: Command, two_names: Path
) -> None:
    space = tiny_space("p", entry("normal"), entry("benign"), objective="auprc")
    launched = sweep("launch", "--space", space, "--data-root", two_names, "--local")
    assert launched.code == 0, launched.err
    assert "positive class: normal: malignant, benign: malignant" in launched.out
    found = json.loads(sweep("compare", "p", "--format", "json").out)
    assert found["positive"] == {"normal": "malignant", "benign": "malignant"}
    one, two = (cell["metrics"]["auprc"] for cell in found["cells"])
    assert one == two


def test_the_entry_says_which_class_is_positive(sweep: Command, two_names: Path) -> None:
    space = tiny_space("p", entry("normal", positive="normal"), objective="auprc")
    assert sweep("launch", "--space", space, "--data-root", two_names, "--local").code == 0
    found = json.loads(sweep("compare", "p", "--format", "json").out)
    assert found["positive"] == {"normal": "normal"}
    wrong = tiny_space("q", entry("normal", positive="malign"))
    refused = sweep("launch", "--space", wrong, "--data-root", two_names, "--local")
    assert refused.code == 2
    assert "did you mean malignant?" in refused.err
