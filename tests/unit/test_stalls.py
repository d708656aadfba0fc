"""How a driver knows that a wave makes no progress."""

import os
from pathlib import Path

import pytest

from sweep.records.folder import SweepFolder
from sweep.search import stalls as module
from sweep.search.stalls import StallDetector, WorkerHeartbeat, forget_signs, progress_file
from sweep.space.model import Space
from sweep.train.wave import Wave

KEY = "id:d/b/full:wave:0"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The driver's monotonic clock, in a list to be set."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path, "s")


def wave() -> Wave:
    backbone = {"name": "b", "model": "test_resnet", "weights": "none"}
    space = Space.model_validate(
        {"name": "s", "datasets": ["digits"], "backbones": [backbone], "freeze": ["full"]}
    )
    return Wave(KEY, "trial", space.cells()[0], (), 0)


def touch(path: Path, at: int) -> None:
    path.touch()
    os.utime(path, (at, at))


def test_a_wave_is_silent_after_twenty_of_its_cells_longest_steps(
    clock: list[float], folder: SweepFolder
) -> None:
    detector = StallDetector(folder)
    assert detector.of("t", wave(), runs=True) is None
    clock[0] = 10.0
    detector.on_report("t", wave())
    clock[0] = 209.0
    assert detector.of("t", wave(), runs=True) is None
    clock[0] = 211.0
    assert detector.of("t", wave(), runs=True) == 201.0
    assert detector.of("t", wave(), runs=True) is None  # told once


def test_a_file_that_is_touched_is_progress_whatever_the_clock_of_its_node_says(
    clock: list[float], folder: SweepFolder
) -> None:
    detector = StallDetector(folder)
    detector.on_report("t", wave())
    for second, at in ((0, 10**9), (100, 5), (200, 10**9 + 7)):  # as clocks that were set
        touch(progress_file(folder, KEY), at)
        clock[0] = float(second)
        assert detector.of("t", wave(), runs=True) is None
    clock[0] = 321.0
    assert detector.of("t", wave(), runs=True) == 121.0


def test_a_process_without_a_heartbeat_is_silent_in_its_first_step(
    clock: list[float], folder: SweepFolder
) -> None:
    detector = StallDetector(folder)
    WorkerHeartbeat().begin(folder, KEY)
    assert detector.of("t", wave(), runs=True) is None
    clock[0] = 181.0
    assert detector.of("t", wave(), runs=True) == 181.0


def test_a_worker_that_has_not_started_is_waited_for(
    clock: list[float], folder: SweepFolder
) -> None:
    detector = StallDetector(folder)
    for clock[0] in (0.0, 1e5, 2e5):
        assert detector.of("t", wave(), runs=False) is None


def test_a_heart_that_beats_makes_no_file_anew(
    monkeypatch: pytest.MonkeyPatch, folder: SweepFolder
) -> None:
    monkeypatch.setattr(module, "_BEAT_EVERY_S", 0.01)
    WorkerHeartbeat().begin(folder, KEY)
    (path,) = (folder.path / "alive").iterdir()
    touch(path, 0)
    while path.stat().st_mtime == 0:
        pass
    forget_signs(folder, KEY)
    module.time.sleep(0.1)
    assert not list((folder.path / "alive").iterdir())
