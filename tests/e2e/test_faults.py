"""Files of a sweep that are lost or damaged, and inputs that change: told, mended, never mixed."""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from mlflow import MlflowClient
from PIL import Image
from safetensors.torch import save_file

from tests.conftest import Command, tiny_space, write_images

pytestmark = pytest.mark.e2e

CELLS = {"name": "cells", "layout": "folder", "path": "cells", "unreadable": "skip"}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder of weights with one file."""
    folder = tmp_path / "weights"
    folder.mkdir()
    write_weights(folder / "w.safetensors", 0)
    return folder


def write_weights(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    state = timm.create_model("test_resnet").state_dict()
    save_file({name: item.contiguous() for name, item in state.items()}, path)


@pytest.fixture
def launched(sweep: Command, images: Path, weights: Path) -> Path:
    """A finished sweep of one cell; returns its folder."""
    backbone = {"name": "own", "model": "test_resnet", "weights": "w.safetensors"}
    space = tiny_space("s", CELLS, backbones=[backbone], budget={"trials": 2, "epochs": 2})
    done = sweep("launch", "--space", space, "--data-root", images, "--weights-dir", weights)
    assert done.code == 0, done.err
    return Path("sweeps/s").absolute()


def scores(sweep: Command) -> list[object]:
    found = json.loads(sweep("compare", "s", "--format", "json").out)["cells"]
    return [(cell["metrics"], cell["learning_rate"], cell["trials"]) for cell in found]


def replaced(cells: Path, weights: Path) -> None:
    Image.new("RGB", (24, 24), (9, 9, 9)).save(cells / "dark" / "003.png")


def removed(cells: Path, weights: Path) -> None:
    (cells / "dark" / "003.png").unlink()


def added(cells: Path, weights: Path) -> None:
    shutil.copy(cells / "dark" / "003.png", cells / "dark" / "903.png")


def relabelled(cells: Path, weights: Path) -> None:
    (cells / "dark" / "003.png").rename(cells / "light" / "903.png")


def exchanged(cells: Path, weights: Path) -> None:
    write_weights(weights / "w.safetensors", 1)


CHANGES = {
    "replaced": (replaced, "dataset cells: 1 of other content, .*: dark/003.png"),
    "removed": (removed, "dataset cells: 1 gone: dark/003.png"),
    "added": (added, "dataset cells: 1 new: dark/903.png"),
    "relabelled": (relabelled, "dataset cells: 1 gone: dark/003.png"),
    "exchanged": (exchanged, r"backbone own: the weights are others \(w.safetensors\)"),
}


def test_a_sweep_whose_data_or_weights_changed_does_not_go_on_and_names_what_changed(
    sweep: Command, launched: Path, images: Path, weights: Path
) -> None:
    before = {path: path.read_bytes() for path in launched.rglob("*") if path.is_file()}
    kept = images.parent / "kept"
    shutil.copytree(images, kept / "data")
    shutil.copytree(weights, kept / "weights")
    for change, said in CHANGES.values():
        change(images / "cells", weights)
        done = sweep("resume", "s", "--set", "seeds=2")
        assert done.code == 2
        assert "cannot go on, as its results would be of two kinds" in done.err
        assert "Put it back as it was, or launch another sweep" in done.err
        assert re.search(said, done.err), done.err
        for name, folder in (("data", images), ("weights", weights)):
            shutil.rmtree(folder)
            shutil.copytree(kept / name, folder)
    for path in images.rglob("*.png"):
        os.utime(path)  # other times alone are no change
    done = sweep("resume", "s", "--set", "seeds=2")
    assert done.code == 0, done.err
    untouched = [path for path in before if path.parent.name in {"runs", "predictions"}]
    for path in untouched:
        if json.loads(path.read_bytes())["kind"] != "cell" if path.suffix == ".json" else True:
            assert path.read_bytes() == before[path]


def lose(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [lose, empty, truncate, flip])
@pytest.mark.parametrize("what", ["runs/*", "predictions/*", "models/*/model.safetensors"])
def test_what_is_lost_or_damaged_is_named_by_verify_and_run_again_by_resume(
    sweep: Command, launched: Path, what: str, damage: Callable[[Path], None]
) -> None:
    whole = scores(sweep)
    assert sweep("verify", "s").code == 0
    path = sorted(launched.glob(what))[0]
    damage(path)
    found = sweep("verify", "s")
    assert found.code == 1
    assert path.name in found.out or "has no record" in found.out, found.out
    mended = sweep("resume", "s")
    assert mended.code == 0, mended.err
    assert "missing or damaged; what is missing is run again" in mended.err
    assert scores(sweep) == whole
    again = sweep("verify", "s")
    assert again.code == 0, again.out
    assert "is run again" not in sweep("resume", "s").err  # once


def test_a_lost_ledger_is_said_and_made_anew(sweep: Command, launched: Path) -> None:
    whole = scores(sweep)
    for path in launched.glob("ledger.db*"):
        path.unlink()
    assert "the ledger cannot be read: it is missing" in sweep("verify", "s").out
    mended = sweep("resume", "s")
    assert mended.code == 0, mended.err
    assert "it is made anew from the records" in mended.err
    assert scores(sweep) == whole
    assert sweep("verify", "s").code == 0


def test_mlflow_that_was_lost_is_filled_again(sweep: Command, launched: Path) -> None:
    Path("mlflow.db").unlink()
    assert "MLflow" in sweep("verify", "s").out
    assert sweep("sync", "s", "--all").code == 0
    assert sweep("verify", "s").code == 0


def test_a_value_of_mlflow_or_of_the_ledger_that_is_another_is_named(
    sweep: Command, launched: Path
) -> None:
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("s")
    assert experiment
    for run in client.search_runs([experiment.experiment_id], "tags.`sweep.kind` = 'trial'"):
        client.set_tag(run.info.run_id, "sweep.content", "another")
    with sqlite3.connect(launched / "ledger.db") as ledger:
        ledger.execute("UPDATE trial_values SET value = 0.123 WHERE trial_id = 1")
    found = sweep("verify", "s")
    assert found.code == 1
    assert "trial 0: MLflow shows another result than its record" in found.out
    assert "of trial 0 the ledger and the record say different things" in found.out


def test_results_that_wait_are_sent_when_a_finished_sweep_is_resumed(
    sweep: Command, images: Path
) -> None:
    space = tiny_space("s", CELLS)
    done = sweep("launch", "--space", space, "--data-root", images, "--tracking-uri",
                 "http://127.0.0.1:9")  # fmt: skip
    assert done.code == 0, done.err
    assert "3 results wait for MLflow" in done.err
    uri = f"sqlite:///{Path('mlflow.db').absolute()}"
    assert "wait" not in sweep("resume", "s", "--tracking-uri", uri).err
    assert sweep("verify", "s", "--tracking-uri", uri).code == 0


def test_an_unexpected_error_is_one_message_that_names_a_file_with_the_traceback(
    sweep: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr("sweep.spacefile.load_space", fail)
    done = sweep("space", "check", "quickstart")
    assert done.code == 70
    assert "Traceback" not in done.err
    message = done.err.strip()
    assert message.startswith("Error: this is a fault of sweep itself (ZeroDivisionError: of the")
    file = Path(message.partition("report it with ")[2].partition(",")[0])
    assert "Traceback" in file.read_text()
    file.unlink()


def test_a_picture_that_is_added_to_a_class_is_seen_before_anything_runs(
    sweep: Command, launched: Path, images: Path
) -> None:
    write_images(images / "cells" / "dark", 25, 71)
    (launched / "finished").unlink()
    done = sweep("resume", "s")
    assert done.code == 2
    assert "5 new: dark/020.png, dark/021.png, dark/022.png and 2 more" in done.err
