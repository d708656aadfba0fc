"""Waves that make no progress: a worker that was stopped, a decoder or a disk that hangs."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from sweep.base.settings import MAX_SILENCE, whole_number
from sweep.records.folder import SweepFolder
from sweep.train.wave import Wave

_LEAST_S = 120.0
_UNKNOWN_S = 3600.0  # limit before any step of the cell has ended
_FACTOR = 20  # limit as a multiple of the cell's longest step so far
_WITHOUT_BEAT_S = 180.0  # a network file system may show a file's time a minute late
_BEAT_EVERY_S = 10.0
_PROGRESS, _BEAT = "", ".beat"  # suffixes of the files that a worker touches


def progress_file(folder: SweepFolder, key: str) -> Path:
    """Return the file that a worker touches when it makes progress between two reports."""
    return folder.file("alive", key, _PROGRESS)


def forget_signs(folder: SweepFolder, key: str) -> None:
    """Delete the files of a wave that has ended."""
    for suffix in (_PROGRESS, _BEAT):
        folder.file("alive", key, suffix).unlink(missing_ok=True)


class WorkerHeartbeat:
    """Touches a file from a thread of its own: as long as it does, its process runs at all."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def begin(self, folder: SweepFolder, key: str) -> None:
        """Beat for a wave from now on, until its file is deleted."""
        path = folder.file("alive", key, _BEAT)
        with suppress(OSError):  # other writers report a full disk
            path.touch()
        self._path = path
        if not self._thread.is_alive():
            self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(_BEAT_EVERY_S)
            if (path := self._path) is not None:
                with suppress(OSError):  # the deleted file must not be created again
                    os.utime(path)


class StallDetector:
    """How long waves have not been heard of, and whether that is far too long.

    A worker is heard of when it reports, and between reports by a file that it touches while it
    decodes images, computes features or trains. Another one is touched by a thread as long as
    its process runs. Their times are compared with nothing but themselves: clocks of nodes differ.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._heard: dict[str, float] = {}  # time of the last report, by Tune's trial id
        self._longest: dict[str, float] = {}  # longest step in seconds, by cell
        # Time of each file, and when it was seen.
        self._signs: dict[tuple[str, str], tuple[int, float]] = {}

    def on_report(self, trial_id: str, wave: Wave) -> None:
        """Take note that a wave has reported."""
        now, cell = time.monotonic(), wave.cell.name
        step = now - self._heard.get(trial_id, now)
        self._longest[cell] = max(step, self._longest.get(cell, 0.0))
        self._heard[trial_id] = now

    def forget(self, trial_id: str) -> None:
        """Forget a trial that has ended."""
        self._heard.pop(trial_id, None)
        for suffix in (_PROGRESS, _BEAT):
            self._signs.pop((trial_id, suffix), None)

    def of(self, trial_id: str, wave: Wave, runs: bool) -> float | None:
        """Return for how many seconds a wave was silent, if that is too long; else None.

        Args:
            runs: its worker has started; before that nothing is to be heard.
        """
        now = time.monotonic()
        if not runs:
            self.forget(trial_id)
        heard = self._heard.setdefault(trial_id, now)
        heard = max(heard, self._last_sign(trial_id, wave, _PROGRESS) or heard)
        beat = self._last_sign(trial_id, wave, _BEAT)
        if now - heard > _limit(self._most(wave.cell.name)):
            since = heard
        elif beat is not None and now - beat > _limit(_WITHOUT_BEAT_S):
            since = beat
        else:
            return None
        self.forget(trial_id)  # a trial is ended once
        return now - since

    def _last_sign(self, trial_id: str, wave: Wave, suffix: str) -> float | None:
        """Return when a file of the wave was last seen with another time than before."""
        place = trial_id, suffix
        try:
            changed = self._folder.file("alive", wave.key, suffix).stat().st_mtime_ns
        except OSError:
            return None
        if place not in self._signs or self._signs[place][0] != changed:
            self._signs[place] = changed, time.monotonic()
        return self._signs[place][1]

    def _most(self, cell: str) -> float:
        longest = self._longest.get(cell)
        return _UNKNOWN_S if longest is None else max(_LEAST_S, _FACTOR * longest)


def _limit(measured: float) -> float:
    return whole_number(MAX_SILENCE, "seconds", measured)
