"""The home of sweeps on disk: for each its space, ledger, records, predictions and spool."""

import hmac
import json
import math
import os
import secrets
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from pydantic_core import from_json  # in a third of json's time

from sweep.atomic import write_text
from sweep.errors import BusyError, SweepError, nearest
from sweep.identity import canonical_hash
from sweep.space import Space, cell_name


@dataclass
class RunRecord:
    """What a trial or a confirmation gave: the durable result, of which MLflow is a projection.

    Attributes:
        key: unique among all runs of all sweeps.
        kind: cell, trial or confirmation.
        state: complete, pruned, diverged or failed.
        history: one mapping an epoch: ``epoch`` and metrics such as ``val/auroc``.
        best: the chosen epoch with its metrics; empty if there is none.
        test: test metrics of a confirmation.
        started, seconds: Unix time, and the seconds spent training.
        facts: what the result depends on: versions, device, fingerprints, peak memory.
        validation: file of a trial's validation predictions, where confirmations choose by them.
        choice: of a confirmation, the identity of the rates that it chose from.
        round: of a confirmation; those of the first are 0, those done again after the budget was
            raised have higher ones.
    """

    key: str
    sweep: str
    dataset: str
    backbone: str
    freeze: str
    kind: str
    state: str
    number: int = 0
    params: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    predictions: str | None = None
    model: str | None = None
    error: str | None = None
    train_fraction: float = 1.0
    log: str | None = None
    validation: str | None = None
    choice: str | None = None
    round: int = 0

    @property
    def cell(self) -> str:
        """The run's cell, as `Cell.name` writes it."""
        return cell_name(self.dataset, self.backbone, self.freeze, self.train_fraction)


@dataclass(frozen=True)
class Settings:
    """How a sweep was launched; kept so that it can be resumed by its name alone."""

    id: str
    created: str
    data_root: str
    weights_dir: str | None
    tracking_uri: str
    address: str | None
    retries: int = 2
    ledger: str | None = None


# What a launch writes into its folder before the sweep exists, in `launch.json`.
_OF_A_REFUSED_LAUNCH = frozenset({"lock", "owner.json", "stop", "sweep.log"})


class SweepFolder:
    """The files of one sweep, ``HOME/NAME``."""

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.name, self.path = home.absolute(), name, home.absolute() / name

    def exists(self) -> bool:
        """Tell whether the sweep was launched here."""
        return (self.path / "launch.json").is_file()

    def create(self, space: Space, settings: Settings) -> None:
        """Write down the space and how it was launched; again, what has changed of them."""
        document = yaml.safe_dump(space.model_dump(mode="json"), sort_keys=False)
        write_text(self.path / "space.yaml", document)
        write_text(self.path / "launch.json", json.dumps(asdict(settings), indent=1))

    def space(self) -> Space:
        """Return the space as it was launched; raises SweepError if its file is damaged."""
        path = self.path / "space.yaml"
        with _naming(path):
            return Space.model_validate(yaml.safe_load(path.read_text("utf-8")))

    def settings(self) -> Settings:
        """Return how the sweep was launched; raises SweepError if its file is damaged."""
        path = self.path / "launch.json"
        with _naming(path):
            return Settings(**json.loads(path.read_text("utf-8")))

    @property
    def ledger_url(self) -> str:
        """The Optuna storage of a sweep that was launched without another one."""
        return f"sqlite:///{self.path / 'ledger.db'}"

    def file(self, folder: str, key: str, suffix: str) -> Path:
        """Return the path of a run's file in a folder of the sweep, which is made."""
        place = self.path / folder
        place.mkdir(parents=True, exist_ok=True)
        return place / f"{canonical_hash(key)}{suffix}"

    def write_record(self, record: RunRecord) -> None:
        """Keep a run's result and mark it to be sent to MLflow."""
        path = self.file("runs", record.key, ".json")
        write_text(path, json.dumps(asdict(record)))
        (self.file("spool", record.key, "")).touch()

    def record_of(self, marker: str) -> RunRecord | None:
        """Return the result that a marker in the spool stands for, or None."""
        path = self.path / "runs" / f"{marker}.json"
        return RunRecord(**json.loads(path.read_text("utf-8"))) if path.is_file() else None

    def records(self) -> list[RunRecord]:
        """Return the results of all runs that have ended.

        Raises SweepError, naming the file, if one is damaged.
        """
        return [_read_record(path) for path in sorted((self.path / "runs").glob("*.json"))]

    def reopen(self, forget_failures: bool) -> None:
        """Take back that the sweep is finished; on demand, that trials of it failed."""
        (self.path / "finished").unlink(missing_ok=True)
        if forget_failures:
            for path in (self.path / "runs").glob("*.json"):
                if _read_record(path).state == "failed":
                    path.unlink()

    def is_finished(self) -> bool:
        """Tell whether the sweep ran to its end."""
        return (self.path / "finished").is_file()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that runs this sweep.

        What a refused launch has written is taken back; files of others are never touched.

        Raises:
            BusyError: another process runs it; it is named.
            SweepError: the folder holds files, and no sweep.
        """
        self._refuse_foreign_folder()
        self.path.mkdir(parents=True, exist_ok=True)
        owner = self.path / "owner.json"
        lock = FileLock(self.path / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise BusyError(
                f"the sweep {self.name} is already running ({self._told_owner()})"
            ) from None
        try:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            about = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
            write_text(owner, json.dumps(about))
            self._stop_request.unlink(missing_ok=True)
            yield
        finally:
            owner.unlink(missing_ok=True)
            self._stop_request.unlink(missing_ok=True)
            lock.release()
            if not self.exists():  # it was refused: leave no trace
                self._take_back()

    def _refuse_foreign_folder(self) -> None:
        if not self.path.is_dir():
            if self.path.exists() or self.path.is_symlink():
                raise SweepError(
                    f"{self.path} is in the way: it is no folder. Choose another --home or --name"
                )
            return
        foreign = sorted({entry.name for entry in self.path.iterdir()} - _OF_A_REFUSED_LAUNCH)
        if foreign and not self.exists():
            raise SweepError(
                f"{self.path} holds {_few(foreign)} and is no sweep's folder: nothing was "
                "written there. Choose another --home or --name"
            )

    def _take_back(self) -> None:
        """Delete what a refused launch wrote, and the folder if nothing else is in it."""
        for name in _OF_A_REFUSED_LAUNCH:
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()

    @property
    def _stop_request(self) -> Path:
        return self.path / "stop"

    def ask_to_stop(self) -> None:
        """Ask whoever runs this sweep, on whatever machine, to drain it.

        Raises SweepError if nobody does.
        """
        self._require_running()
        self._stop_request.touch()

    def is_asked_to_stop(self) -> bool:
        """Tell whether the sweep is to be drained."""
        return self._stop_request.exists()

    def interrupt(self) -> None:
        """Interrupt the process that runs this sweep.

        Raises SweepError if none runs, or none on this machine.
        """
        self._require_running()
        about = json.loads((self.path / "owner.json").read_text("utf-8"))
        if about["host"] != socket.gethostname():
            raise SweepError(
                f"the sweep {self.name} runs on {about['host']}: use --now there, or stop it "
                "without --now from here"
            )
        os.kill(about["pid"], signal.SIGTERM)

    def wait_until_stopped(self, timeout: float = math.inf) -> None:
        """Wait until no process runs this sweep; raises SweepError after `timeout` seconds."""
        end = time.monotonic() + timeout
        while self.is_running():
            if time.monotonic() > end:
                raise SweepError(f"the sweep {self.name} has not stopped in {timeout:.0f} s")
            time.sleep(0.1)

    def owner(self) -> dict[str, Any]:
        """Return pid, host and since when of the process that runs this sweep; empty if none."""
        try:
            about: dict[str, Any] = json.loads((self.path / "owner.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return about

    def _told_owner(self) -> str:
        about = self.owner()
        if not about:
            return "its process has only just started"
        return f"process {about['pid']} on {about['host']} since {about['since']}"

    def bytes_on_disk(self) -> int:
        """Return how much room the files of the sweep take."""
        total = 0
        for path in self.path.rglob("*"):
            with suppress(FileNotFoundError):  # of a sweep that runs
                total += path.lstat().st_size
        return total

    def remove(self) -> None:
        """Delete everything of the sweep; raises BusyError if it runs."""
        with self.locked():
            shutil.rmtree(self.path, ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)  # the lock

    def _require_running(self) -> None:
        if not self.is_running():
            raise SweepError(f"the sweep {self.name} is not running")

    def is_running(self) -> bool:
        """Tell whether a process runs this sweep now."""
        lock = FileLock(self.path / "lock", timeout=0)
        try:
            with lock:
                return False
        except Timeout:
            return True


def _read_record(path: Path) -> RunRecord:
    with _naming(path):
        return RunRecord(**from_json(path.read_bytes()))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn what reading a damaged file of a sweep raises into a SweepError that names it."""
    try:
        yield
    except (ValueError, TypeError, yaml.YAMLError) as error:
        first_line = str(error).splitlines()[0]
        raise SweepError(
            f"{path} is damaged ({first_line}): restore it; the record of a run can also be "
            "removed, and the sweep resumed"
        ) from None


def _few(names: list[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def default_home() -> Path:
    """Return ``$SWEEP_HOME``, else ``./sweeps``."""
    return Path(os.environ.get("SWEEP_HOME") or "sweeps").expanduser()


def existing(home: Path, name: str) -> SweepFolder:
    """Return the folder of a sweep that was launched.

    Raises SweepError with the nearest names if there is none.
    """
    folder = SweepFolder(home, name)
    if not folder.exists():
        known = sweep_names(home)
        there = f"there are: {', '.join(known)}" if known else "there is none yet"
        raise SweepError(f"no sweep {name!r} under {home}; {there}{nearest(name, known)}")
    return folder


def sweep_names(home: Path) -> list[str]:
    """Return the names of the sweeps launched under a home."""
    return sorted(path.parent.name for path in home.glob("*/launch.json"))


def new_id() -> str:
    """Return an identity for a new sweep."""
    return uuid.uuid4().hex[:12]


def hashing_key(home: Path) -> bytes:
    """Return the secret under which sample and group ids are hashed; made at the first use."""
    path = home.absolute() / ".ids.key"
    with FileLock(_made(path).with_suffix(".lock")):
        if not path.is_file():
            write_text(path, secrets.token_hex(32))
            path.chmod(0o600)
    return bytes.fromhex(path.read_text())


def hashed_id(key: bytes, name: str) -> str:
    """Return the keyed hash by which a sample or group is known outside the dataset."""
    return hmac.new(key, name.encode(), "sha256").hexdigest()[:16]


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
