"""The spool of a sweep: results that trackers have not taken yet.

Every result waits there until it was sent. An outage of a server delays that and nothing else.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sweep.base.addresses import without_password
from sweep.errors import DamagedError, first_line
from sweep.records.folder import SweepFolder
from sweep.records.record import RunRecord
from sweep.space.registries import TRACKERS
from sweep.tracking.trackers.base import Tracker

_PAUSE_S = 1.0
_LOCK_TIMEOUT_S = 60.0
_MLFLOW = "mlflow"

log = logging.getLogger("sweep.tracking")


class Spool:
    """Sends the results of one sweep to its trackers, from a thread of its own.

    Use as a context manager: on leaving, what is left is sent, or stays in the spool.

    Args:
        trackers: names of those that take the results.

    Attributes:
        error: why the last attempt failed; None while all of them answer.
    """

    def __init__(self, folder: SweepFolder, uri: str, trackers: Sequence[str] = (_MLFLOW,)) -> None:
        self.error: str | None = None
        self.folder = folder
        self._uri, self._names = uri, list(trackers)
        self._trackers: dict[str, Tracker] = {}
        self._taken: set[tuple[str, str, str]] = set()  # tracker, key and content
        self._described: dict[str, str] = {}  # the answer that each tracker shows
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._lock = FileLock(folder.path / "sync.lock", timeout=_LOCK_TIMEOUT_S)
        self._token = secrets.token_hex(8)

    def __enter__(self) -> "Spool":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def waiting(self) -> int:
        """Return how many results have not been sent yet."""
        return sum(1 for _ in (self.folder.path / "spool").glob("*"))

    def send_all(self) -> None:
        """Try to send everything that waits; keeps the reason in `error` if that fails.

        One process at a time sends: two would make runs twice.
        """
        self.error = None
        try:
            with self._lock:
                self._make_anew_if_another_sent()
                self._send_waiting()
        except Timeout:
            self.error = "another process is sending results of this sweep"

    def delete_strays(self) -> None:
        """Let trackers delete runs of the sweep that have no record, as their trials were lost.

        For the end of a sweep, when every run has its record.
        """
        for name, tracker in self._trackers.items():
            try:
                with self._lock:
                    tracker.delete_strays()
            except Exception as error:  # a tracker's server or the network may fail in many ways
                log.warning("%s may show runs that have no record: %s", name, error)

    def _send_waiting(self) -> None:
        for marker, marked in self._markers():
            try:
                record = self.folder.record_of(marker.name)
            except DamagedError as error:  # a resumed sweep creates the record again
                log.warning("%s", error)
                continue
            if record is not None and not self._send(record):
                return
            with suppress(FileNotFoundError):
                # Otherwise the record was written again meanwhile.
                if marker.stat().st_mtime_ns == marked:
                    marker.unlink()
        self._send_answer()

    def _send(self, record: RunRecord) -> bool:
        """Send a record to every tracker; tell whether all have taken it."""
        for name in self._names:
            taken = (name, record.key, record.content)
            if taken not in self._taken and self._try(name, lambda to: to.send(record)):
                self._taken.add(taken)
        return self.error is None

    def _send_answer(self) -> None:
        """Let every tracker show what the sweep has found, once it is known."""
        answer = self.folder.answer()
        for name in self._names if answer is not None else ():
            shown = self._described.get(name) == answer
            if not shown and self._try(name, lambda to: to.describe(str(answer))):
                self._described[name] = str(answer)

    def _try(self, name: str, send: Callable[[Tracker], None]) -> bool:
        """Send something to a tracker; tell whether it has taken it."""
        try:
            if name not in self._trackers:
                self._trackers[name] = TRACKERS.get(name)(self.folder, self._uri)
            send(self._trackers[name])
        except Exception as error:  # a tracker's server or the network may fail in many ways
            self._trackers.pop(name, None)
            self.error = self._reason(name, error)
            return False
        return True

    def _reason(self, name: str, error: Exception) -> str:
        line = first_line(error)
        how = TRACKERS.get(name).advice(self._uri, line) if name in TRACKERS else None
        text = f"{type(error).__name__}: {line}{f'; {how}' if how else ''}"
        return without_password(text if name == _MLFLOW else f"{name}: {text}")

    def _markers(self) -> list[tuple[Path, int]]:
        """Return what waits, the oldest first, and when each was marked."""
        found = []
        for marker in (self.folder.path / "spool").glob("*"):
            with suppress(FileNotFoundError):
                found.append((marker, marker.stat().st_mtime_ns))
        return sorted(found, key=lambda item: (item[1], item[0].name))

    def _make_anew_if_another_sent(self) -> None:
        """A tracker lists once what was sent before, unless another process has sent since."""
        path = self.folder.path / "sync.owner"
        if not path.is_file() or path.read_text() != self._token:
            self._trackers.clear()
            self._taken.clear()
            self._described.clear()
            path.write_text(self._token)

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_S if self.error is None else 10 * _PAUSE_S):
            self.send_all()
        self.send_all()
