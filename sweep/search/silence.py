"""Waves that make no progress: a worker that was stopped, a decoder or a disk that hangs."""

import math
import os
import time

from sweep.home import SweepFolder
from sweep.identity import canonical_hash
from sweep.search.wave import Wave

LIMIT = "SWEEP_MAX_SILENCE"  # seconds, in place of what is measured
_LEAST_S = 120.0
_UNKNOWN_S = 6 * 3600.0  # where no step of the cell has ended yet
_FACTOR = 20  # of the cell's longest step so far


class Silence:
    """How long waves have not been heard of, and whether that is far too long.

    A worker is heard of when it reports, and between reports by a file that it touches while it
    decodes images or computes features.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._heard: dict[str, float] = {}  # when, by Tune's trial
        self._longest: dict[str, float] = {}  # step in seconds, by cell

    def hear(self, trial_id: str, wave: Wave) -> None:
        """Take note that a wave has reported."""
        now, cell = time.monotonic(), wave.cell.name
        step = now - self._heard.get(trial_id, now)
        self._longest[cell] = max(step, self._longest.get(cell, 0.0))
        self._heard[trial_id] = now

    def forget(self, trial_id: str) -> None:
        """Forget a trial that has ended."""
        self._heard.pop(trial_id, None)

    def of(self, trial_id: str, wave: Wave, runs: bool) -> float | None:
        """Return for how many seconds a wave was silent, if that is too long; else None.

        Args:
            runs: its worker has started; before that nothing is to be heard.
        """
        now = time.monotonic()
        if not runs:
            self._heard[trial_id] = now
        heard = max(self._heard.setdefault(trial_id, now), now - self._since_sign(wave))
        if now - heard <= self._most(wave.cell.name):
            return None
        self._heard[trial_id] = now  # it is ended: once is enough
        return now - heard

    def _since_sign(self, wave: Wave) -> float:
        """Return how many seconds ago the worker has touched its file."""
        path = self._folder.path / "alive" / canonical_hash(wave.key)
        try:
            return max(0.0, time.time() - path.stat().st_mtime)
        except OSError:
            return math.inf

    def _most(self, cell: str) -> float:
        limit = os.environ.get(LIMIT, "")
        if limit.isdecimal():
            return float(limit)
        longest = self._longest.get(cell)
        return _UNKNOWN_S if longest is None else max(_LEAST_S, _FACTOR * longest)
