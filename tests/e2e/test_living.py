"""Living with a sweep: watch it, stop it, look into it, give it more to do, remove it."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.running import Sweep

pytestmark = [pytest.mark.e2e, pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(600)]

SPACE = {
    "name": "digits",
    "datasets": ["digits"],
    "backbones": [{"name": "small", "model": "test_efficientnet", "weights": "none"}],
    "freeze": ["frozen", "full"],
    "image_size": 32,
    "budget": {"trials": 2, "epochs": 20, "pruner": "none"},
    "seeds": 1,
    "edges": "keep",
}


class Here(Sweep):
    """A folder in which sweep is typed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "digits")
        (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))

    def sweep(self, *arguments: str, code: int = 0) -> str:
        """Run a command to its end; return what it printed."""
        return self.run(*arguments, code=code)

    def status(self) -> dict[str, object]:
        answer: dict[str, object] = json.loads(self.sweep("status", "digits", "--json"))
        return answer


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    """A sweep that was watched while it ran, drained, and resumed to its end."""
    here = Here(tmp_path_factory.mktemp("living"))
    running = here.start("launch", "--space", "space.yaml")
    while not list((here.path / "runs").glob("*.json")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    time.sleep(2.5)  # a beat of the pulse
    here.watched = here.status()
    here.refused = here.sweep("remove", "digits", "--yes", code=2)
    here.stopped = here.sweep("stop", "digits")
    here.ended = running.communicate(timeout=60)[1]
    here.code = running.returncode
    here.halfway = here.status()
    here.resumed = here.sweep("resume", "digits")
    return here


def test_a_running_sweep_tells_its_speed_and_what_it_uses(here: Here) -> None:
    pulse = here.watched["pulse"]
    assert here.watched["state"] == "running"
    assert pulse["total"]["CPU"] >= 1
    assert 0 < pulse["used"]["CPU"] <= pulse["total"]["CPU"]
    assert pulse["runs_an_hour"] > 0
    assert pulse["images_a_second"] > 0
    assert sum(pulse["running"].values()) > 0
    assert pulse["pid"]


def test_stop_drains_the_sweep_and_says_how_to_go_on(here: Here) -> None:
    assert here.code == 3
    for text in (here.stopped, here.ended):
        assert "stopped; go on with: sweep resume digits" in text
    assert here.halfway["state"] == "interrupted"
    assert "pauses" in here.sweep("logs", "digits")


def test_a_drained_sweep_is_finished_by_resume_and_no_run_counts_twice(here: Here) -> None:
    status = here.status()
    assert status["state"] == "finished"
    assert [cell["states"] for cell in status["cells"]] == [{"complete": 2}] * 2
    records = [json.loads(path.read_text()) for path in (here.path / "runs").glob("*.json")]
    for record in records:
        epochs = [entry["epoch"] for entry in record["history"]]
        assert epochs == sorted(set(epochs))
    assert not list((here.path / "checkpoints").iterdir())


def test_a_running_sweep_is_not_removed(here: Here) -> None:
    assert "is running: stop it first" in here.refused


def test_the_log_tells_what_happened_to_a_cell(here: Here) -> None:
    log = here.sweep("logs", "digits", "digits/small/full")
    assert "digits/small/full: trial 0 begins" in log
    assert "digits/small/full: confirmation 0 ends" in log
    assert "frozen" not in log


def test_a_larger_budget_is_searched_and_mlflow_agrees(here: Here) -> None:
    here.sweep("resume", "digits", "--set", "budget.trials=4", "--set", "seeds=2")
    status = here.status()
    cells = status["cells"]
    assert [(c["trials"], c["of_trials"], c["confirmations"]) for c in cells] == [(4, 4, 2)] * 2
    uri = f"sqlite:///{here.folder / 'mlflow.db'}"
    plain = here.sweep("compare", "digits", "--format", "json")
    alone = here.sweep("compare", "digits", "--format", "json", "--tracking-uri", uri)
    assert plain == alone
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("digits")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    keys = [run.data.tags["sweep.key"] for run in runs]
    assert len(keys) == len(set(keys))
    again = [key for key in keys if ":confirmation.1:" in key]  # the first scores stay beside them
    assert len(keys) == 2 * (1 + 4 + 2) + len(again)
    assert [key for key in again if "/frozen:" in key]
    assert "the test split was scored again after its first scores were known" in plain
    parents = {run.info.run_id for run in runs if run.data.tags["sweep.kind"] == "cell"}
    for run in runs:
        if run.info.run_id not in parents:
            assert run.data.tags["mlflow.parentRunId"] in parents


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("budget.trials=1", "what is done cannot be taken back"),
        ("recipe.batch_size=8", "a sweep that has begun can only get more of budget.trials"),
        ("budget.trails=32", "unknown key"),
    ],
)
def test_other_changes_are_refused(here: Here, override: str, told: str) -> None:
    text = here.sweep("resume", "digits", "--set", override, code=2)
    assert told in text
    assert "Traceback" not in text


def test_list_names_every_sweep_with_its_size(here: Here) -> None:
    text = here.sweep("list")
    assert "digits" in text
    assert "MiB" in text


def test_an_unknown_cell_is_refused_with_the_nearest(here: Here) -> None:
    text = here.sweep("logs", "digits", "digits/small/fulll", code=2)
    assert "did you mean digits/small/full" in text


def test_stop_of_a_sweep_that_does_not_run(here: Here) -> None:
    assert "is not running" in here.sweep("stop", "digits", code=2)


def test_resume_on_a_machine_with_other_paths(tmp_path: Path) -> None:
    here = Here(tmp_path)
    running = here.start("launch", "--space", "space.yaml")
    while not (here.path / "launch.json").is_file():
        assert running.poll() is None
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (here.folder / "sweeps").rename(moved / "sweeps")
    (moved / "data").mkdir()
    there = Here(moved)
    uri = f"sqlite:///{moved / 'other.db'}"
    there.sweep("resume", "digits", "--data-root", "data", "--tracking-uri", uri)
    settings = json.loads((there.path / "launch.json").read_text())
    assert settings["data_root"] == str(moved / "data")
    assert (moved / "other.db").is_file()


def test_remove_asks_first_and_leaves_mlflow(here: Here) -> None:
    process = here.start("remove", "digits")
    assert process.stdin is None
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, out + err
    assert "nobody answered: nothing was deleted; --yes deletes unasked" in err
    assert here.path.is_dir()
    here.sweep("remove", "digits", "--yes")
    assert not here.path.exists()
    assert (here.folder / "mlflow.db").is_file()
