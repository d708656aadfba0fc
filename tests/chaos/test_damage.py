"""Files that are damaged, and inputs that change, behind the back of a sweep."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.chaos.conftest import ChaosSweep, Moments, Result, write_weights
from tests.running import ended, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

FILES = {
    "store": "cache/stores/*/*",
    "features": "cache/features/*",
    "near_duplicates": "cache/near_duplicates/*",
    "checkpoint": "sweeps/chaos/checkpoints/*",
    "record": "sweeps/chaos/runs/*",
    "predictions": "sweeps/chaos/predictions/*",
    "validation": "sweeps/chaos/validation/*",
    "model": "sweeps/chaos/models/*/*",
    "ledger": "sweeps/chaos/ledger.journal",
}


def truncate(path: Path, where: float) -> None:
    os.truncate(path, int(path.stat().st_size * where))


def flip(path: Path, where: float) -> None:
    with path.open("r+b") as file:
        file.seek(int((path.stat().st_size - 1) * where))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 16]))


HARMS: dict[str, Callable[[Path, float], None]] = {"truncated": truncate, "flipped": flip}


def some_file(sweep: ChaosSweep, moments: Moments, what: str) -> Path:
    """Return one of the files of a kind, as soon as there is one."""

    def there() -> list[Path]:
        found = sorted(sweep.folder.glob(FILES[what]))
        return [p for p in found if p.is_file() and p.stat().st_size and _is_whole(p)]

    return moments.choice(wait_until(there))


def _is_whole(path: Path) -> bool:
    return path.suffix != ".lock" and not path.name.startswith(".")


def stop(sweep: ChaosSweep, process: subprocess.Popen[str]) -> None:
    """Kill a sweep with all that runs below it."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not sweep.processes_left()


def pause_in_a_wave(sweep: ChaosSweep, moments: Moments, process: subprocess.Popen[str]) -> None:
    """Stop a sweep while a wave is under way, so that there is a checkpoint.

    Waves are short, and workers look once a second whether they are to stop: the worker is
    suspended for longer, and looks at its next epoch.
    """
    while True:
        wait_until(lambda: [p for p in sweep.path.glob("alive/*") if not p.suffix], process)
        time.sleep(moments.fraction())  # so that it has learnt something
        with suppress(psutil.Error):
            worker = sweep.workers()[0]
            worker.suspend()
            time.sleep(1.2)
            (sweep.path / "stop").touch()
            worker.resume()
        ended(process, code=3)
        if list(sweep.folder.glob(FILES["checkpoint"])):
            return
        process = sweep.start("resume", sweep.name)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("what", FILES)
def test_a_file_is_damaged_while_nothing_runs(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int, what: str, harm: str
) -> None:
    process = sweep.launch()
    if what == "checkpoint":
        moments.wait(sweep, searching=True)
        pause_in_a_wave(sweep, moments, process)
    else:
        some_file(sweep, moments, what)
        moments.wait(sweep, searching=True)
        stop(sweep, process)
    path = some_file(sweep, moments, what)
    before = {k: v for k, v in sweep.records().items() if path.stem not in v}
    print(f"{harm}: {path}")
    HARMS[harm](path, moments.fraction())
    before = {k: v for k, v in before.items() if k in sweep.records()}
    sweep.run("resume", sweep.name)
    sweep.check(undisturbed, before)


@pytest.mark.parametrize("what", ["store", "features"])
def test_a_file_is_truncated_while_it_is_used(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int, what: str
) -> None:
    process = sweep.launch()
    some_file(sweep, moments, what)
    moments.wait(sweep, searching=True)
    path = some_file(sweep, moments, what)
    print(path)
    before = sweep.records()
    truncate(path, 0.3)
    ended(process)
    sweep.check(undisturbed, before)


def replace_a_picture(sweep: ChaosSweep) -> str:
    path = sweep.folder / "data" / "cells" / "dark" / "003.png"
    Image.new("RGB", (24, 24), (9, 9, 9)).save(path)
    return "dark/003.png"


def remove_a_picture(sweep: ChaosSweep) -> str:
    (sweep.folder / "data" / "cells" / "dark" / "003.png").unlink()
    return "dark/003.png"


def exchange_the_weights(sweep: ChaosSweep) -> str:
    write_weights(sweep.folder / "weights" / "own.safetensors", 1)
    return "own.safetensors"


CHANGES = [replace_a_picture, remove_a_picture, exchange_the_weights]


def keep_inputs(sweep: ChaosSweep, there: Path) -> Callable[[], None]:
    """Return what puts the inputs of a sweep back as they are now."""
    for name in ("data", "weights"):
        shutil.copytree(sweep.folder / name, there / name)

    def put_back() -> None:
        for name in ("data", "weights"):
            shutil.rmtree(sweep.folder / name)
            shutil.copytree(there / name, sweep.folder / name)

    return put_back


@pytest.mark.parametrize("change", CHANGES)
def test_inputs_that_change_between_stop_and_resume_are_refused_by_name(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int,
    change: Callable[[ChaosSweep], str], tmp_path: Path,
) -> None:  # fmt: skip
    process = sweep.launch()
    moments.wait(sweep, searching=True)
    stop(sweep, process)
    if (sweep.path / "finished").exists():
        pytest.skip("it has just finished")
    put_back = keep_inputs(sweep, tmp_path / "kept")
    named, before = change(sweep), sweep.records()
    assert named in sweep.run("resume", sweep.name, code=2)
    assert sweep.records() == before
    put_back()
    sweep.run("resume", sweep.name)
    sweep.check(undisturbed, before)


@pytest.mark.parametrize("change", CHANGES)
def test_inputs_that_change_while_it_runs_are_not_mixed(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int,
    change: Callable[[ChaosSweep], str], tmp_path: Path,
) -> None:  # fmt: skip
    put_back = keep_inputs(sweep, tmp_path / "kept")
    process = sweep.launch()
    moments.wait(sweep, searching=True)
    named = change(sweep)
    text = ended(process, code=None)
    print(process.returncode, text[-1000:])
    assert process.returncode in {0, 3}, text
    before = sweep.records()
    assert named in sweep.run("resume", sweep.name, "--set", "seeds=3", code=2)
    put_back()
    sweep.run("resume", sweep.name)
    sweep.check(undisturbed, before)
