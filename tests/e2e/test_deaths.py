"""Processes that die or hang in the middle of a sweep of this machine: told, and gone on from."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(400)]

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


class Running:
    """A launch in a process of its own, and what lies below it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
        self.folder = folder
        self.environment = {**os.environ, "SWEEP_CACHE": str(folder / "cache"), **environment}
        self.process = self._start("launch", "--space", "space.yaml")
        self.log = folder / "sweeps" / "digits" / "sweep.log"
        self._wait_for(lambda: self.log.is_file() and "trial 1 begins" in self.log.read_text())
        runs = folder / "sweeps" / "digits" / "checkpoints"
        self._wait_for(lambda: runs.is_dir() and any(runs.iterdir()))

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "sweep", *arguments], cwd=self.folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def _wait_for(self, condition) -> None:
        end = time.monotonic() + 120
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end
            time.sleep(0.2)

    def below(self, name: str) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [item for item in children if item.name().startswith(name)]

    def workers(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        end = time.monotonic() + 10  # between two steps it goes by another name
        while not found and time.monotonic() < end:
            found = self.below("ray::Resource")  # as Tune calls a Trainable with resources
            time.sleep(0.05)
        return found

    def ended(self, seconds: float) -> tuple[int, str]:
        everything = psutil.Process(self.process.pid).children(recursive=True)
        out, err = self.process.communicate(timeout=seconds)
        _, alive = psutil.wait_procs(everything, timeout=15)
        assert not alive, [item.cmdline() for item in alive]
        return self.process.returncode, out + err

    def resumed(self) -> str:
        out, err = (process := self._start("resume", "digits")).communicate(timeout=200)
        assert process.returncode == 0, err
        return out


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Begin a launch, which is ended with all below it after the test."""
    begun: list[Running] = []

    def run(**environment: str) -> Running:
        begun.append(Running(tmp_path, **environment))
        return begun[-1]

    yield run
    for item in begun:
        with suppress(psutil.Error):
            for process in psutil.Process(item.process.pid).children(recursive=True):
                process.kill()
        item.process.kill()


@pytest.fixture
def running(begin: Callable[..., Running]) -> Running:
    return begin()


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_without_ray_the_sweep_ends_within_a_minute_and_goes_on(
    running: Running, name: str
) -> None:
    (process,) = running.below(name)
    process.kill()
    code, text = running.ended(60)
    assert code == 3, text
    assert "Ray on this machine was lost" in text
    assert "go on with: sweep resume digits" in text
    assert "Traceback" not in text
    assert "Ray on this machine was lost" in running.log.read_text()
    assert "test split" in running.resumed()


def test_three_interrupts_within_a_second_end_it_as_one(running: Running) -> None:
    for _ in range(3):
        os.kill(running.process.pid, signal.SIGINT)
        time.sleep(0.3)
    code, text = running.ended(60)
    assert code == 3, text
    assert "Traceback" not in text
    assert "interrupted; go on with: sweep resume digits" in text


def test_a_closed_terminal_interrupts_and_the_log_says_so(running: Running) -> None:
    os.killpg(running.process.pid, signal.SIGHUP)
    code, text = running.ended(60)
    assert code == 3, text
    assert "told to stop by SIGHUP" in running.log.read_text()


def test_a_worker_that_hangs_is_ended_and_its_wave_runs_again(
    begin: Callable[..., Running],
) -> None:
    running = begin(SWEEP_MAX_SILENCE="15")
    worker = running.workers()[0]
    worker.suspend()
    code, text = running.ended(200)
    assert code == 0, text
    assert "it made no progress for" in running.log.read_text()
    assert "test split" in text


def test_a_killed_worker_costs_a_try(running: Running) -> None:
    running.workers()[0].kill()
    code, text = running.ended(200)
    assert code == 0, text
    assert "its process died" in running.log.read_text()


def test_nothing_of_a_local_launch_listens_to_the_network(running: Running) -> None:
    listening = {
        (item.name(), connection.laddr.ip)
        for item in [psutil.Process(running.process.pid), *running.below("")]
        for connection in item.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert {ip for _, ip in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, listening
