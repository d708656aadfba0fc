"""The Python API: values in, values out, and nothing is printed."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sweep
from sweep import Listener, Places, Space, SweepError, compare, launch, results, resume
from sweep.records.progress import CellProgress
from tests.conftest import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.ray, pytest.mark.timeout(300)]

SPACE = {
    "name": "s",
    "datasets": [{"name": "cells", "layout": "folder", "path": "cells"}],
    "backbones": [{"name": "small", "model": "test_resnet", "weights": "none"}],
    "freeze": ["frozen", "bias"],
    "image_size": 32,
    "budget": {"trials": 2, "epochs": 2, "pruner": "none"},
    "seeds": 2,
    "edges": "keep",
}


@pytest.fixture
def places(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.chdir(tmp_path)
    return Places(home=tmp_path / "home", data_root=images, local=True)


class Notes(Listener):
    """Keeps what a launch tells."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.shown = 0
        self.uri = ""

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, tracking_uri: str) -> None:
        self.uri = tracking_uri

    def searching(self, objective: str) -> "Notes":
        return self

    def __enter__(self) -> object:
        return self.show

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, cells: list[CellProgress]) -> None:
        self.shown += 1


def test_a_launch_prints_nothing_and_gives_data_frames(
    places: Places, capfd: pytest.CaptureFixture[str]
) -> None:
    listener = Notes()
    outcome = launch(Space.model_validate(SPACE), places, listener)
    assert capfd.readouterr() == ("", "")
    assert not outcome.failures
    assert listener.shown > 4
    assert "cells: train" in listener.notes[0]
    assert listener.uri.startswith("sqlite:///")
    trials = outcome.results.trials()
    assert len(trials) == 4
    assert {"dataset", "freeze", "state", "learning_rate", "val/auroc"} <= set(trials.columns)
    confirmed = results("s", places).confirmations()
    assert list(confirmed["number"]) == [0, 1, 0, 1]
    assert confirmed["test/auroc"].between(0, 1).all()
    predicted = results("s", places).predictions("cells/small/frozen")
    assert set(predicted["confirmation"]) == {0, 1}
    assert len(results("s", places).history("cells/small/bias")) == 4

    found = compare("s", places=places)
    assert len(found.cells()) == 2
    assert found.differences()["verdict"].notna().all()
    assert "Which cell is best?" in found.sentences()
    assert found.notes()
    found.write_report("report.html")
    assert Path("report.html").read_text().startswith("<!doctype html>")

    more = resume("s", places, overrides=["budget.trials=3"])
    assert len(more.results.trials()) == 6


def test_a_launch_leaves_the_logging_of_its_process_as_it_was(places: Places) -> None:
    logger = logging.getLogger("sweep")
    before = logger.level, logger.propagate, list(logger.handlers)
    launch(Space.model_validate(SPACE), places)
    assert (logger.level, logger.propagate, logger.handlers) == before


def test_what_is_wrong_is_a_sweep_error(places: Places) -> None:
    with pytest.raises(SweepError, match="nowhere/cells is not there"):
        launch(Space.model_validate(SPACE), Places(home=places.home, data_root=Path("nowhere")))
    with pytest.raises(SweepError):
        results("s", places)
    with pytest.raises(SweepError, match="takes jobs"):
        Places(address="http://head:8265")
    with pytest.raises(SweepError, match="name at least one"):
        compare()


def test_every_name_of_the_api_is_there_whatever_was_imported_before() -> None:
    code = (
        f"import sweep.comparison.api; from sweep import {', '.join(sweep.__all__)}; print(compare)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("<function compare")


def test_the_example_runs(tmp_path: Path) -> None:
    cells = json.loads((ROOT / "examples" / "digits.ipynb").read_text())["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SWEEP_HOME": str(tmp_path / "home"),
                   "MPLBACKEND": "agg"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
