"""Files of a sweep that are lost or damaged, and inputs that change: told, mended, never mixed."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import yaml
from mlflow import MlflowClient
from PIL import Image
from safetensors.torch import save_file

from sweep.data.dataset import read_manifest, samples_hash, samples_of
from tests.conftest import Command, tiny_space, write_images
from tests.ledgers import change_first_value

pytestmark = pytest.mark.e2e

CELLS = {"name": "cells", "layout": "folder", "path": "cells", "unreadable": "skip"}


def write_weights(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    state = timm.create_model("test_resnet").state_dict()
    save_file({name: item.contiguous() for name, item in state.items()}, path)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, weights, and a finished sweep of one cell."""
    root = tmp_path_factory.mktemp("template")
    for label, brightness in (("dark", 70), ("light", 180)):
        write_images(root / "data" / "cells" / label, 20, brightness)
    (root / "weights").mkdir()
    write_weights(root / "weights" / "w.safetensors", 0)
    backbone = {"name": "own", "model": "test_resnet", "weights": "w.safetensors"}
    space = {"name": "s", "datasets": [CELLS], "backbones": [backbone], "freeze": ["frozen"],
             "image_size": 32, "budget": {"trials": 2, "epochs": 2}, "seeds": 1,
             "edges": "keep"}  # fmt: skip
    (root / "space.yaml").write_text(yaml.safe_dump(space))
    command = [sys.executable, "-m", "sweep", "launch", "--space", "space.yaml",
               "--local", "--data-root", "data", "--weights-dir", "weights"]  # fmt: skip
    environment = {**os.environ, "SWEEP_CACHE": str(root / "cache")}
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
    return root


@pytest.fixture
def launched(sweep: Command, template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it here; returns the sweep's folder."""
    here = Path.cwd()
    shutil.copytree(template, here, dirs_exist_ok=True)
    monkeypatch.setenv("SWEEP_CACHE", str(here / "cache"))
    kept = here / "sweeps" / "s" / "launch.json"
    kept.write_text(kept.read_text().replace(str(template), str(here)))
    return kept.parent


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


def forget() -> None:
    """Forget what this process has read, as the next command of a user does."""
    samples_of.cache_clear()
    samples_hash.cache_clear()
    read_manifest.cache_clear()


CHANGES = {
    "replaced": (replaced, "dataset cells: 1 of other content, .*: dark/003.png"),
    "removed": (removed, "dataset cells: 1 gone: dark/003.png"),
    "added": (added, "dataset cells: 1 new: dark/903.png"),
    "relabelled": (relabelled, "dataset cells: 1 gone: dark/003.png"),
    "exchanged": (exchanged, r"backbone own: the weights are others \(w.safetensors\)"),
}


def test_a_sweep_whose_data_or_weights_changed_does_not_go_on_and_names_what_changed(
    sweep: Command, launched: Path
) -> None:
    before = {path: path.read_bytes() for path in launched.glob("[rp][ur][ne]*/*")}
    data, weights = Path("data"), Path("weights")
    shutil.copytree(data, "kept/data")
    shutil.copytree(weights, "kept/weights")
    for change, said in CHANGES.values():
        change(data / "cells", weights)
        forget()
        done = sweep("resume", "s", "--local", "--set", "seeds=2")
        assert done.code == 2
        assert "cannot go on, as its results would be of two kinds" in done.err
        assert "Put it back as it was, or launch another sweep" in done.err
        assert re.search(said, done.err), done.err
        for folder in (data, weights):
            shutil.rmtree(folder)
            shutil.copytree("kept" / folder, folder)
    write_images(data / "cells" / "dark", 25, 70)
    forget()
    assert "5 new: dark/020.png, dark/021.png, dark/022.png and 2 more" in (
        sweep("resume", "s", "--local", "--set", "seeds=2").err
    )
    for number in range(20, 25):
        (data / "cells" / "dark" / f"0{number}.png").unlink()
    for path in data.rglob("*.png"):
        os.utime(path)  # other times alone are no change
    forget()
    done = sweep("resume", "s", "--local", "--set", "seeds=2")
    assert done.code == 0, done.err
    for path, content in before.items():
        if b'"kind": "cell"' not in content:
            assert path.read_bytes() == content


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


@pytest.mark.parametrize(
    ("what", "damage"),
    [
        ("runs/*", truncate),
        ("runs/*", lose),
        ("predictions/*", flip),
        ("predictions/*", empty),
        ("models/*/model.safetensors", flip),
    ],
)
def test_what_is_lost_or_damaged_is_named_by_verify_and_run_again_by_resume(
    sweep: Command, launched: Path, what: str, damage: Callable[[Path], None]
) -> None:
    whole = scores(sweep)
    path = sorted(launched.glob(what))[0]
    damage(path)
    found = sweep("verify", "s")
    assert found.code == 1
    assert path.name in found.out or "has no record" in found.out, found.out
    mended = sweep("resume", "s", "--local")
    assert mended.code == 0, mended.err
    assert scores(sweep) == whole
    again = sweep("verify", "s")
    assert again.code == 0, again.out
    assert "is run again" not in sweep("resume", "s").err  # once


def test_a_lost_ledger_is_said_and_made_anew(sweep: Command, launched: Path) -> None:
    whole = scores(sweep)
    (launched / "ledger.journal").unlink()
    assert "the ledger cannot be read: it is missing" in sweep("verify", "s").out
    mended = sweep("resume", "s", "--local")
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
    change_first_value(launched / "ledger.journal", 0.123)
    found = sweep("verify", "s")
    assert found.code == 1
    assert "trial 0: MLflow shows another result than its record" in found.out
    assert "of trial 0 the ledger and the record say different things" in found.out


def test_results_that_wait_are_sent_when_a_finished_sweep_is_resumed(
    sweep: Command, images: Path
) -> None:
    space = tiny_space("s", CELLS)
    done = sweep("launch", "--space", space, "--data-root", images, "--local", "--tracking-uri",
                 "http://127.0.0.1:9")  # fmt: skip
    assert done.code == 0, done.err
    assert "3 results wait for MLflow" in done.err
    uri = f"sqlite:///{Path('mlflow.db').absolute()}"
    assert "wait" not in sweep("resume", "s", "--local", "--tracking-uri", uri).err
    assert sweep("verify", "s", "--tracking-uri", uri).code == 0


def test_an_unexpected_error_is_one_message_that_names_a_file_with_the_traceback(
    sweep: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr("sweep.space.file.load_space", fail)
    done = sweep("space", "check", "quickstart")
    assert done.code == 70
    assert "Traceback" not in done.err
    message = done.err.strip()
    assert message.startswith("Error: this is a fault of sweep itself (ZeroDivisionError: of the")
    file = Path(message.partition("report it with ")[2].partition(",")[0])
    assert "Traceback" in file.read_text()
    file.unlink()
