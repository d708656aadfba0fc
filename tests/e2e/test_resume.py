"""A sweep that is killed or interrupted at any moment is finished by `sweep resume`."""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.running import Sweep, ended

pytestmark = [pytest.mark.e2e, pytest.mark.ray, pytest.mark.timeout(600)]

SPACE = {
    "name": "digits",
    "datasets": ["digits"],
    "backbones": [{"name": "small", "model": "test_efficientnet", "weights": "none"}],
    "freeze": ["frozen", "last:1"],
    "image_size": 32,
    "budget": {"trials": 4, "epochs": 4, "frozen": {"trials": 8, "epochs": 40}},
    "seeds": 2,
    "edges": "keep",
}
RUNS = {"cell": 2, "trial": 12, "confirmation": 4}


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return Sweep(folder, "digits", SWEEP_CACHE=str(folder.parent / "cache")).start(*arguments)


def launch(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    return start(folder, "launch", "--space", "space.yaml", *arguments)


def finish(folder: Path) -> None:
    assert "has the highest test score" in ended(start(folder, "resume", "digits"))


def finished(folder: Path) -> dict[str, str]:
    """Return the trials and confirmations that have ended, by what they are: their files."""
    found = {}
    for path in (folder / "sweeps" / "digits" / "runs").glob("*.json"):
        text = path.read_text()
        key = json.loads(text)["key"].partition(":")[2]
        assert key not in found
        if ":cell:" not in key:
            found[key] = text
    return found


def check(folder: Path, before: dict[str, str]) -> None:
    """Every run is there once, and those that had ended `before` did not run again."""
    after = finished(folder)
    assert before.items() <= after.items()
    assert Counter(key.split(":")[-2] for key in after) == {"trial": 12, "confirmation": 4}
    for text in after.values():
        record = json.loads(text)
        epochs = [entry["epoch"] for entry in record["history"]]
        assert epochs == list(range(1, len(epochs) + 1))
        assert record["state"] in {"complete", "pruned"}
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert Counter(run.data.tags["sweep.kind"] for run in runs) == RUNS
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len({run.data.tags["sweep.key"] for run in runs}) == len(runs)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_killed_at_random_moments_it_is_finished_and_nothing_is_lost_or_run_twice(
    tmp_path: Path, seed: int
) -> None:
    moments, before = random.Random(seed), {}
    process = launch(tmp_path / "here")
    for _ in range(2):
        end = time.monotonic() + 120
        while not (tmp_path / "here" / "sweeps" / "digits" / "ledger.journal").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 12))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert before.items() <= finished(tmp_path / "here").items()
        before = finished(tmp_path / "here")
        process = start(tmp_path / "here", "resume", "digits")
    process.communicate(timeout=300)
    assert process.returncode == 0
    check(tmp_path / "here", before)
    finish(tmp_path / "here")
    check(tmp_path / "here", before)


def test_a_second_launch_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    process = launch(tmp_path / "here")
    while not (tmp_path / "here" / "sweeps" / "digits" / "owner.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    second = start(tmp_path / "here", "launch", "--space", "space.yaml")
    _, err = second.communicate(timeout=60)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert second.returncode == 2
    assert f"process {process.pid} on" in err


def test_ctrl_c_ends_with_code_3_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = launch(tmp_path / "here")
    records = tmp_path / "here" / "sweeps" / "digits" / "runs"
    while not list(records.glob("*.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "sweep resume digits" in err
    assert "Traceback" not in err, err
    before = finished(tmp_path / "here")
    finish(tmp_path / "here")
    check(tmp_path / "here", before)


def test_a_ledger_that_cannot_be_written_interrupts_and_nothing_is_lost(tmp_path: Path) -> None:
    process = launch(tmp_path / "here")
    folder = tmp_path / "here" / "sweeps" / "digits"
    while not list((folder / "runs").glob("*.json")):
        assert process.poll() is None
        time.sleep(0.05)
    (folder / "ledger.journal").rename(folder / "elsewhere")
    (folder / "ledger.journal").mkdir()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "the ledger cannot be written" in err
    assert "sweep resume digits" in err
    assert "Traceback" not in err, err
    before = finished(tmp_path / "here")
    (folder / "ledger.journal").rmdir()
    (folder / "elsewhere").rename(folder / "ledger.journal")
    finish(tmp_path / "here")
    check(tmp_path / "here", before)


def test_sweep_stop_ends_a_running_sweep_that_can_be_resumed(tmp_path: Path) -> None:
    process = launch(tmp_path / "here")
    while not (tmp_path / "here" / "sweeps" / "digits" / "ledger.journal").exists():
        assert process.poll() is None
        time.sleep(0.05)
    stopping = start(tmp_path / "here", "stop", "digits")
    out, err = stopping.communicate(timeout=90)
    assert stopping.returncode == 0, err
    assert "sweep resume digits" in out
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert '"state": "interrupted"' in start(
        tmp_path / "here", "status", "digits", "--json"
    ).communicate(timeout=60)[0]  # fmt: skip
