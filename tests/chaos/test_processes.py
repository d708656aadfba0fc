"""Processes that die, hang or lose their sense of time, at random moments of a sweep."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.chaos.conftest import ChaosSweep, Moments, Result
from tests.running import ended, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def go_on(sweep: ChaosSweep, undisturbed: Result) -> None:
    """Finish a sweep that has ended early, and check that all is as if it had not."""
    assert not sweep.processes_left()
    before = sweep.records()
    if sweep.path.joinpath("launch.json").exists():
        sweep.run("resume", sweep.name)
    else:
        ended(sweep.launch())
    sweep.check(undisturbed, before)


@pytest.mark.parametrize("group", [False, True], ids=["alone", "with its group"])
def test_the_driver_is_killed(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int, group: bool
) -> None:
    process = sweep.launch()
    moments.wait(sweep)
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    go_on(sweep, undisturbed)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_driver_is_interrupted(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int, name: str
) -> None:
    process = sweep.launch()
    moments.wait(sweep)
    before = sweep.records()
    process.send_signal(getattr(signal, name))
    text = ended(process, code=None)
    assert process.returncode in {0, 3, -getattr(signal, name)}, text
    if process.returncode == 0:
        sweep.check(undisturbed, before)
    else:
        go_on(sweep, undisturbed)


def test_a_worker_is_killed(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int
) -> None:
    process = sweep.launch()
    moments.wait(sweep, searching=True)
    before = sweep.records()
    sweep.workers()[0].kill()
    ended(process)
    sweep.check(undisturbed, before)


@pytest.mark.parametrize(
    "name", ["raylet", "gcs_server", "ray::DashboardAgent", "ray::RuntimeEnvAgent"]
)
def test_a_process_of_ray_is_killed(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int, name: str
) -> None:
    process = sweep.launch()
    moments.wait(sweep, searching=True)
    (found,) = wait_until(lambda: sweep.processes(name))
    found.kill()
    text = ended(process, code=None, timeout=60)
    assert process.returncode in {0, 3}, text
    assert process.returncode == 0 or "go on with: sweep resume chaos" in text
    go_on(sweep, undisturbed)


@pytest.mark.parametrize("limit", ["15", ""], ids=["of 15 seconds", "by its heartbeat"])
def test_a_worker_hangs(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int, limit: str
) -> None:
    sweep.environment["SWEEP_MAX_SILENCE"] = limit
    process = sweep.launch()
    moments.wait(sweep, searching=True)
    before = sweep.records()
    sweep.workers()[0].suspend()
    ended(process)
    sweep.check(undisturbed, before)


def test_everything_is_stopped_for_a_while(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int
) -> None:
    """A laptop that sleeps, a virtual machine that is moved."""
    process = sweep.launch()
    moments.wait(sweep)
    before, all_of_it = sweep.records(), sweep.processes()
    for item in all_of_it:
        with suppress(psutil.Error):
            item.suspend()
    time.sleep(20)
    for item in all_of_it:
        with suppress(psutil.Error):
            item.resume()
    text = ended(process, code=None)
    assert process.returncode in {0, 3}, text
    if process.returncode == 0:
        sweep.check(undisturbed, before)
    else:
        go_on(sweep, undisturbed)


@pytest.mark.parametrize("hours", [3, -3, 9600])
def test_the_clock_steps(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int, hours: int
) -> None:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    source, library = Path(__file__).with_name("clock.c"), sweep.folder / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    clock = sweep.folder / "clock"
    clock.write_text("0")
    sweep.environment |= {"LD_PRELOAD": str(library), "TEST_CLOCK": str(clock)}
    process = sweep.launch()
    moments.wait(sweep)
    before = sweep.records()
    clock.write_text(str(3600 * hours))
    ended(process)
    sweep.check(undisturbed, before)
