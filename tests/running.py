"""A sweep in processes of its own: begun, harmed, gone on with, and what is left of it."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "SWEEP_TESTMARK"
_OURS = ("SWEEP", "MLFLOW")


def _heed_hangups() -> None:
    """Undo what nohup does, below which these tests may run."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Sweep:
    """A folder in which the commands of one sweep are typed.

    Args:
        folder: where they are typed.
        name: of the sweep.
        before: a command that runs the command, ``taskset -c 0`` say.
        environment: of all commands; of ours in this process they see none.
    """

    def __init__(
        self, folder: Path, name: str, before: tuple[str, ...] = (), **environment: str
    ) -> None:
        self.folder, self.name, self.before = folder, name, before
        self.path = folder / "sweeps" / name
        clean = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
        self._sessions: list[int] = []  # of all commands
        self.environment = {
            **clean, "SWEEP_CACHE": str(folder / "cache"), MARK: uuid.uuid4().hex, **environment,
        }  # fmt: skip

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command."""
        process = subprocess.Popen(
            [*self.before, sys.executable, "-m", "sweep", *arguments], cwd=self.folder,
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=_heed_hangups,  # noqa: PLW1509 - it begins no thread
        )  # fmt: skip
        self._sessions.append(process.pid)
        return process

    def run(self, *arguments: str, code: int | None = 0, timeout: float = 300) -> str:
        """Run a command to its end; return what it printed. No command ends in a traceback."""
        process = self.start(*arguments)
        try:
            return ended(process, code, timeout)
        finally:
            process.kill()

    @property
    def log(self) -> str:
        """What stands in the log of the sweep; empty before it has one."""
        with suppress(OSError):
            return (self.path / "sweep.log").read_text()
        return ""

    def records(self) -> dict[str, str]:
        """Return the texts of all records by the keys of their runs, but for those of cells."""
        found: dict[str, str] = {}
        for path in (self.path / "runs").glob("*.json"):
            text = path.read_text()
            with suppress(ValueError):  # a damaged one
                key = str(json.loads(text)["key"]).partition(":")[2]
                assert key not in found
                if ":cell:" not in key:
                    found[key] = text
        return found

    def kinds(self) -> Counter[str]:
        """Return how many records there are of trials, and of confirmations."""
        return Counter(key.split(":")[-2] for key in self.records())

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Return what runs of this sweep's commands, and has a name that begins so."""
        own = {item.pid: item for item in marked(self.environment[MARK])}
        for item in psutil.process_iter():  # Ray's agents write their names over the mark
            with suppress(psutil.Error, OSError):
                if os.getsid(item.pid) in self._sessions and _lives(item):
                    own[item.pid] = item
        return [item for item in own.values() if _name(item).startswith(name)]

    def workers(self) -> list[psutil.Process]:
        """Return the processes that train, as soon as there are some."""
        return wait_until(lambda: self.processes("ray::Resource"))  # Tune's name of a Trainable

    def processes_left(self, seconds: float = 150) -> list[str]:
        """Return what still runs of this sweep's commands after some seconds.

        Ray's agents outlive a driver that was killed by about a minute (Ray 2.60).
        """
        end = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.2)
        return [f"{item.pid} {item.name()}" for item in left if item.is_running()]

    def kill_all(self) -> None:
        """Leave nothing of it running."""
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()


def marked(mark: str) -> list[psutil.Process]:
    """Return what runs with a mark in its environment, whoever its parent is now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and _lives(process):
                found.append(process)
    return found


def _lives(process: psutil.Process) -> bool:
    return bool(process.status() != psutil.STATUS_ZOMBIE)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def ended(process: subprocess.Popen[str], code: int | None = 0, timeout: float = 300) -> str:
    """Wait for the end of a command; return what it printed."""
    out, err = process.communicate(timeout=timeout)
    assert code is None or process.returncode == code, f"{process.returncode}: {out}{err}"
    assert "Traceback" not in out + err, out + err
    return out + err


def wait_until(
    holds: Callable[[], object], process: subprocess.Popen[str] | None = None, seconds: float = 120
) -> list:
    """Wait for something to hold, as long as a process runs; return what `holds` has returned."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.05)
    return found
