"""The home of sweeps on disk: for each its space, ledger, records, predictions and spool."""

import fcntl
import json
import math
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from sweep.base.atomic import write_text
from sweep.base.identity import canonical_hash
from sweep.base.removal import delete_one, delete_written, link
from sweep.errors import BusyError, DamagedError, SweepError, listing
from sweep.records.files import (
    PREPARING,
    is_of_a_refused_launch,
    is_of_a_sweep,
    temporaries_of_a_sweep,
)
from sweep.records.record import RunRecord, read_record, write_record
from sweep.space.imports import FOLDER as IMPORTS
from sweep.space.imports import import_beside, imported
from sweep.space.model import Space


@dataclass(frozen=True)
class Settings:
    """How a sweep was launched; kept so that it can be resumed by its name alone.

    Attributes:
        local: in one process, without Ray.
        command: what was typed to launch it, without paths.
        register: the best model of each data set is put into MLflow's registry.
    """

    id: str
    created: str
    data_root: str
    weights_dir: str | None
    tracking_uri: str
    address: str | None
    retries: int = 2
    ledger: str | None = None
    local: bool = False
    command: str = "sweep"
    register: bool = False


_LOCK_TIMEOUT_S = 1.0  # readers hold the lock only briefly


class SweepFolder:
    """The files of one sweep, ``HOME/NAME``."""

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.name, self.path = home.absolute(), name, home.absolute() / name

    def exists(self) -> bool:
        """Tell whether the sweep was launched here."""
        return (self.path / "launch.json").is_file()

    def mark_preparing(self, what: str, done: int, total: int) -> None:
        """Write down how far the preparations are: images decoded, of all of a data set."""
        about = {"what": what, "done": done, "total": total}
        write_text(self.path / PREPARING, json.dumps(about))

    def end_preparing(self) -> None:
        """Write down that the preparations are over."""
        (self.path / PREPARING).unlink(missing_ok=True)

    def preparing(self) -> dict[str, Any] | None:
        """Return how far the preparations of a process that runs are, or None."""
        try:
            about: dict[str, Any] = json.loads((self.path / PREPARING).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return about if self.is_running() else None

    def create(self, space: Space, settings: Settings) -> None:
        """Write down the space and how it was launched; again, what has changed of them."""
        for module in imported(space.imports):
            write_text(self.path / IMPORTS / f"{module.name}.py", module.text)
        document = yaml.safe_dump(space.model_dump(mode="json"), sort_keys=False)
        write_text(self.path / "space.yaml", document)
        write_text(self.path / "launch.json", json.dumps(asdict(settings), indent=1))

    def space(self) -> Space:
        """Return the space as it was launched; raises SweepError if its file is damaged."""
        path = self.path / "space.yaml"
        with _naming(path):
            document = yaml.safe_load(path.read_text("utf-8"))
            if isinstance(document, dict) and (names := document.get("imports")):
                import_beside(names, self.path)
            return Space.launched(document)

    def refuse_other_name(self) -> None:
        """Raise SweepError if the folder was renamed or copied since the sweep was launched.

        In MLflow its runs are under the name that it was launched with.
        """
        name = self.space().name
        if name != self.name:
            raise SweepError(
                f"{self.path} was launched as {name!r}, and has been renamed or copied: it can be "
                f"looked at and compared; to go on with it, give it its name again"
            )

    def settings(self) -> Settings:
        """Return how the sweep was launched; raises SweepError if its file is damaged."""
        path = self.path / "launch.json"
        with _naming(path):
            return Settings(**json.loads(path.read_text("utf-8")))

    def write_answer(self, answer: str) -> None:
        """Keep what the sweep has found, in Markdown, for its trackers."""
        write_text(self.path / "answer.md", answer)

    def answer(self) -> str | None:
        """Return what the sweep has found, in Markdown; None before it is finished."""
        path = self.path / "answer.md"
        return path.read_text("utf-8") if path.is_file() else None

    @property
    def ledger(self) -> str:
        """The journal file of a sweep that was launched without another Optuna storage."""
        return str(self.path / "ledger.journal")

    def file(self, folder: str, key: str, suffix: str) -> Path:
        """Return the path of a run's file in a folder of the sweep, which is made."""
        place = self.path / folder
        place.mkdir(parents=True, exist_ok=True)
        return place / f"{canonical_hash(key)}{suffix}"

    def subgroups(self, dataset: str) -> Path:
        """Return the file that holds the subgroups of a data set's samples."""
        return self.path / "subgroups" / f"{canonical_hash(dataset)}.parquet"

    def forget_model(self, name: str) -> None:
        """Delete a confirmed model that is not kept."""
        place = self.path / "models" / Path(name).name
        for path in (place / "model.safetensors", place / "model.json", place):
            delete_one(path)

    def write_record(self, record: RunRecord) -> None:
        """Keep a run's result and mark it to be sent to MLflow."""
        path = self.file("runs", record.key, ".json")
        write_record(path, record)
        (self.file("spool", record.key, "")).touch()

    def mark_all(self) -> None:
        """Mark every result to be sent to MLflow, also those that were."""
        for path in self._record_files():
            place = self.path / "spool"
            place.mkdir(exist_ok=True)
            (place / path.stem).touch()

    def record_of(self, marker: str) -> RunRecord | None:
        """Return the result that a marker in the spool stands for, or None."""
        path = self.path / "runs" / f"{marker}.json"
        return read_record(path) if path.is_file() else None

    def has_record(self, key: str) -> bool:
        """Tell whether a run has a record."""
        return (self.path / "runs" / f"{canonical_hash(key)}.json").is_file()

    def records(self) -> list[RunRecord]:
        """Return the results of all runs that have ended.

        Raises DamagedError, naming the file, if one is damaged.
        """
        return [read_record(path) for path in self._record_files()]

    def readable_records(self) -> tuple[list[RunRecord], list[DamagedError]]:
        """Return the results of all runs that have ended, and which files are damaged."""
        found, damaged = [], []
        for path in self._record_files():
            try:
                found.append(read_record(path))
            except DamagedError as error:
                damaged.append(error)
        return found, damaged

    def _record_files(self) -> list[Path]:
        return sorted((self.path / "runs").glob("*.json"))

    def put_aside(self, path: Path) -> None:
        """Move a damaged file into the folder ``damaged`` of the sweep."""
        place = self.path / "damaged"
        place.mkdir(exist_ok=True)
        path.replace(place / f"{path.parent.name}-{time.time_ns()}-{path.name}")

    def reopen(self, forget_failures: bool) -> None:
        """Take back that the sweep is finished; on demand, that trials of it failed."""
        for name in ("finished", "answer.md"):
            (self.path / name).unlink(missing_ok=True)
        if forget_failures:
            for path in self._record_files():
                if read_record(path).state == "failed":
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
        before = set() if self.exists() else {entry.name for entry in self.path.iterdir()}
        owner = self.path / "owner.json"
        lock = FileLock(self.path / "lock", timeout=_LOCK_TIMEOUT_S)
        try:
            lock.acquire()
        except Timeout:
            raise BusyError(
                f"the sweep {self.name} is already running ({self._describe_owner()})"
            ) from None
        try:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            about = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
            write_text(owner, json.dumps(about))
            self._stop_request.unlink(missing_ok=True)
            for path in temporaries_of_a_sweep(self.path) if self.exists() else ():
                path.unlink(missing_ok=True)
            yield
        finally:
            owner.unlink(missing_ok=True)
            self._stop_request.unlink(missing_ok=True)
            self.end_preparing()
            lock.release()
            if not self.exists():  # the sweep was refused or removed, so its log is deleted
                self._take_back(before)

    def _refuse_foreign_folder(self) -> None:
        if not self.path.is_dir():
            if self.path.exists() or self.path.is_symlink():
                raise SweepError(
                    f"{self.path} is in the way: it is no folder. Choose another --home or --name"
                )
            return
        names = {entry.name for entry in self.path.iterdir()}
        foreign = sorted(name for name in names if not is_of_a_refused_launch(name))
        if foreign and not self.exists():
            raise SweepError(
                f"{self.path} holds {_few(foreign)} and is no sweep's folder: nothing was "
                "written there. Choose another --home or --name"
            )

    def _take_back(self, before: set[str]) -> None:
        """Delete what a refused launch wrote, and the folder if nothing else is in it.

        Args:
            before: names that were there before it.
        """
        for entry in list(self.path.glob("*")):
            if entry.name not in before and is_of_a_refused_launch(entry.name):
                entry.unlink(missing_ok=True)
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

    def _describe_owner(self) -> str:
        about = self.owner()
        if not about:
            return "its process has only just started"
        return f"process {about['pid']} on {about['host']} since {about['since']}"

    def bytes_on_disk(self) -> int:
        """Return how much room the files of the sweep take."""
        total = 0
        for path in self.path.rglob("*"):
            with suppress(FileNotFoundError):  # a running sweep may delete a file
                total += path.lstat().st_size
        return total

    def remove(self) -> None:
        """Delete what the sweep has written; files of others and links are left.

        ``launch.json`` goes last: as long as anything could not be deleted the sweep is there.

        Raises:
            BusyError: it runs.
            SweepError: something is left; all of it is named.
        """
        with self.locked():
            kept = {self.path / "launch.json", self.path / "lock"}
            found = delete_written(self.path, is_of_a_sweep)
            left = [item for item in found if item.path not in kept]
            if not any(item.failed for item in left):
                left += delete_one(self.path / "launch.json")
        if self.path.is_symlink() and not left:
            left = [link(self.path)]
        if left:
            text = "not all could be removed" if self.exists() else "removed, but not all in it"
            raise SweepError(f"{text}:\n{listing([str(item) for item in left])}")

    def _require_running(self) -> None:
        if not self.is_running():
            raise SweepError(f"the sweep {self.name} is not running")

    def is_running(self) -> bool:
        """Tell whether a process runs this sweep now; works where nothing may be written."""
        try:
            handle = os.open(self.path / "lock", os.O_RDONLY)
        except OSError:
            # The sweep has not run since it was copied here, or the file is not readable.
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn what reading a damaged file of a sweep raises into a DamagedError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise DamagedError(path, "it is missing") from None
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise DamagedError(path, error) from None


def _few(names: list[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
