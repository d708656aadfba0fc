"""A package that is not ours, and files beside a space, add one of everything; a sweep uses all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sweep.space.registries import (
    BACKBONES,
    FREEZE_MODES,
    LAYOUTS,
    LOSSES,
    METRICS,
    TRACKERS,
)
from tests.conftest import write_images

pytestmark = [pytest.mark.integration, pytest.mark.ray]

PACKAGE = Path(__file__).parent / "package"
NAMES = ["tiny_cnn", "stem", "by_prefix", "g_mean", "focal", "json_lines"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, installed as pip does it."""
    place = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "package"
    subprocess.run(["cp", "-r", str(PACKAGE), str(source)], check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
         "--no-build-isolation", "--target", str(place), str(source)],
        check=True,
    )  # fmt: skip
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images, in which a sweep is launched."""
    place = tmp_path / "images"
    # So many that they are decoded by processes of their own.
    write_images(place, 40, 70, prefix="dark+")
    write_images(place, 40, 130, prefix="light+")
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def write_space(folder: Path, **changes: object) -> None:
    document = {
        "name": "s",
        "datasets": [{"name": "mine", "layout": "by_prefix", "path": str(folder.parent / "images"),
                      "separator": "+"}],
        "backbones": [{"name": "narrow", "model": "tiny_cnn:narrow", "weights": "none"}],
        "freeze": ["frozen", "stem"],
        "image_size": 32,
        "objective": "g_mean",
        "budget": {"trials": 2, "epochs": 2},
        "seeds": 3,
        "recipe": {"loss": "focal"},
        "trackers": ["mlflow", "json_lines"],
        **changes,
    }  # fmt: skip
    (folder / "space.yaml").write_text(yaml.safe_dump(document))


def run(folder: Path, *arguments: str, site: Path | None = None) -> str:
    environment = {**os.environ, "SWEEP_CACHE": str(folder.parent / "cache")}
    environment.pop("PYTHONPATH", None)
    root = Path(__file__).parents[2]
    environment["PYTHONPATH"] = os.pathsep.join(str(p) for p in (root, site) if p)
    command = [sys.executable, "-c", "from sweep.cli import main; main()", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(folder: Path, site: Path | None) -> None:
    """A sweep that uses one of everything ran to its end, and its results can be compared."""
    answer = run(folder, "compare", "s", "--metric", "g_mean", "--format", "json", site=site)
    cells = json.loads(answer)["cells"]
    assert sorted(cell["freeze"] for cell in cells) == ["frozen", "stem"]
    for cell in cells:
        score = cell["metrics"]["g_mean"]
        assert 0 <= score["low"] < score["high"] <= 1
        assert score["low"] <= score["mean"] <= score["high"]
    assert "G-mean" in run(folder, "compare", "s", "--metric", "g_mean", site=site)
    lines = (folder / "sweeps" / "s.jsonl").read_text().splitlines()
    records = list((folder / "sweeps" / "s" / "runs").glob("*.json"))
    assert len({json.loads(line)["key"] for line in lines}) == len(records) > 8
    for path in (folder / "sweeps" / "s" / "models").glob("*/model.json"):
        model = json.loads(path.read_text())
        assert (model["mean"], model["interpolation"]) == ([0.4, 0.4, 0.4], "nearest")
    recipe = {json.loads(path.read_text())["params"]["loss"] for path in records}
    assert recipe == {"focal"}


def test_a_package_adds_one_of_everything_by_its_entry_points(
    folder: Path, installed: Path
) -> None:
    write_space(folder)
    run(folder, "launch", "--space", "space.yaml", site=installed)
    check(folder, installed)
    assert "run again" not in run(folder, "resume", "s", site=installed)


def test_files_beside_a_space_add_one_of_everything_and_go_along_with_the_sweep(
    folder: Path,
) -> None:
    for name in NAMES:
        text = (PACKAGE / "outside" / f"{name}.py").read_text()
        (folder / f"{name}.py").write_text(text)
    write_space(folder, imports=NAMES)
    run(folder, "launch", "--space", "space.yaml")
    for name in NAMES:  # what was launched is in the sweep's folder
        (folder / f"{name}.py").unlink()
    (folder / "space.yaml").unlink()
    check(folder, None)
    run(folder, "resume", "s", "--set", "budget.trials=3")
    records = [
        json.loads(path.read_text()) for path in (folder / "sweeps" / "s" / "runs").glob("*.json")
    ]
    assert {len(record["facts"]["imports"]) for record in records} == {len(NAMES)}


def test_each_of_them_is_one_file_that_registers_one_name() -> None:
    for registry in (BACKBONES, FREEZE_MODES, LAYOUTS, METRICS, LOSSES, TRACKERS):
        for name in NAMES:
            assert name not in registry
    texts = [(PACKAGE / "outside" / f"{name}.py").read_text() for name in NAMES]
    assert all(text.count(".register(") == 1 for text in texts)


def test_what_was_cached_of_another_version_of_a_file_is_not_used(folder: Path) -> None:
    write_space(folder, imports=["tiny_cnn", "by_prefix"], objective="auroc", freeze=["frozen"],
                recipe={}, trackers=["mlflow"], seeds=1)  # fmt: skip
    pixels = set()
    for name, changed in (("a", "255 - value"), ("b", "value // 2")):
        for module in ("tiny_cnn", "by_prefix"):
            text = (PACKAGE / "outside" / f"{module}.py").read_text()
            (folder / f"{module}.py").write_text(text.replace("255 - value", changed))
        run(folder, "launch", "--space", "space.yaml", "--name", name, "--local")
        (record, *_) = (folder / "sweeps" / name / "runs").glob("*.json")
        pixels.add(json.loads(record.read_text())["facts"]["pixels"])
    assert len(pixels) == 2
