"""Processes that die or hang in the middle of a sweep of this machine: told, and gone on from."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.running import Sweep, ended, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(400)]

SPACE = {
    "name": "digits",
    "datasets": ["digits"],
    "backbones": [{"name": "small", "model": "test_efficientnet", "weights": "none"}],
    "freeze": ["full"],
    "image_size": 32,
    "budget": {"trials": 4, "epochs": 15, "pruner": "none"},
    "seeds": 1,
    "edges": "keep",
}


class Running(Sweep):
    """A launch whose second trial is under way, with a checkpoint to go on from."""

    def __init__(self, folder: Path, **environment: str) -> None:
        super().__init__(folder, "digits", **environment)
        (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
        self.process = self.start("launch", "--space", "space.yaml")
        wait_until(lambda: "trial 1 begins" in self.log, self.process)
        wait_until(lambda: list((self.path / "checkpoints").glob("*")), self.process)

    def ends(self, seconds: float) -> tuple[int, str]:
        """Wait for its end, which leaves nothing running; return its code and what it printed."""
        text = ended(self.process, None, seconds)
        assert not self.processes_left()
        return self.process.returncode, text


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Begin a launch, which is ended with all below it after the test."""
    begun: list[Running] = []

    def run(**environment: str) -> Running:
        begun.append(Running(tmp_path, **environment))
        return begun[-1]

    yield run
    for item in begun:
        item.kill_all()


@pytest.fixture
def running(begin: Callable[..., Running]) -> Running:
    return begin()


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_without_ray_the_sweep_ends_within_a_minute_and_goes_on(
    running: Running, name: str
) -> None:
    (process,) = running.processes(name)
    process.kill()
    code, text = running.ends(60)
    assert code == 3, text
    assert "Ray on this machine was lost" in text
    assert "go on with: sweep resume digits" in text
    assert "Traceback" not in text
    assert "Ray on this machine was lost" in running.log
    assert "test split" in running.run("resume", "digits")


def test_three_interrupts_within_a_second_end_it_as_one(running: Running) -> None:
    for _ in range(3):
        os.kill(running.process.pid, signal.SIGINT)
        time.sleep(0.3)
    code, text = running.ends(60)
    assert code == 3, text
    assert "Traceback" not in text
    assert "interrupted; go on with: sweep resume digits" in text


def test_a_closed_terminal_interrupts_and_the_log_says_so(running: Running) -> None:
    os.killpg(running.process.pid, signal.SIGHUP)
    # Of loky's resource tracker, which it kills as well, there may be a word on the terminal.
    text = running.process.communicate(timeout=60)[1]
    assert running.process.returncode == 3, text
    assert not running.processes_left()
    assert "told to stop by SIGHUP" in running.log


def test_a_worker_that_hangs_is_ended_and_its_wave_runs_again(
    begin: Callable[..., Running],
) -> None:
    running = begin(SWEEP_MAX_SILENCE="15")
    worker = running.workers()[0]
    worker.suspend()
    code, text = running.ends(200)
    assert code == 0, text
    assert "it made no progress for" in running.log
    assert "test split" in text


def test_a_killed_worker_costs_a_try(running: Running) -> None:
    running.workers()[0].kill()
    code, text = running.ends(200)
    assert code == 0, text
    assert "its process died" in running.log


def test_nothing_of_a_local_launch_listens_to_the_network(running: Running) -> None:
    listening = {
        (item.name(), connection.laddr.ip)
        for item in running.processes()
        for connection in item.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert {ip for _, ip in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, listening
