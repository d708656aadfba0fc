"""What is done, what runs, the best so far and the time left."""

import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sweep.records.record import RunRecord
from sweep.space.model import Cell


@dataclass
class CellProgress:
    """How far a cell is, for those who watch.

    Attributes:
        beyond: trials beyond an edge of the ranges, on top of the cell's budget.
        left_out: trials that were not begun, as the sweep has to end in time.
    """

    cell: Cell
    beyond: int = 0
    left_out: int = 0
    trials: Counter[str] = field(default_factory=Counter)
    confirmations: Counter[str] = field(default_factory=Counter)
    running: int = 0
    best: float = -math.inf
    seconds: float = 0.0
    epochs: int = 0
    images: int = 0  # images that passed through a network, as far as this driver knows
    retried: int = 0  # waves that were run again
    given_up: bool = False

    @classmethod
    def of_records(cls, cell: Cell, records: Iterable[RunRecord]) -> "CellProgress":
        """Return how far the records of a cell say it is, whether it runs or not."""
        progress, confirmed = cls(cell), dict[int, RunRecord]()
        for record in sorted(records, key=lambda record: record.round):
            if record.kind == "cell":
                continue
            progress.add_epochs(record)
            progress.add(record, confirmed.get(record.number))
            if record.kind == "confirmation":
                confirmed[record.number] = record
        progress.beyond = max(0, progress.trials_done - cell.trials)
        return progress

    def add(self, record: RunRecord, before: RunRecord | None = None) -> None:
        """Count a trial or a confirmation that has ended.

        Args:
            before: the confirmation for which this one stands, as it was done again.
        """
        self.seconds += record.seconds
        if record.kind == "trial":
            self.trials[record.state] += 1
            return
        if before is not None:
            self.confirmations[before.state] -= 1
        self.confirmations[record.state] += 1

    def add_epochs(self, record: RunRecord) -> None:
        """Count the epochs of a run that were not counted while it ran, and its best score."""
        self.epochs += len(record.history)
        self.best = max(self.best, record.best.get("value", -math.inf))

    @property
    def name(self) -> str:
        """The cell's name."""
        return self.cell.name

    @property
    def trials_done(self) -> int:
        """Trials that have ended, in whatever state."""
        return self.trials.total()

    @property
    def trials_total(self) -> int:
        """Trials that the cell has in all, as far as that is known."""
        return self.cell.trials + self.beyond - self.left_out

    @property
    def seeds(self) -> int:
        """Confirmations that the cell has in all."""
        return self.cell.confirmations

    @property
    def confirmed(self) -> int:
        """Confirmations that have ended."""
        return self.confirmations.total()

    @property
    def is_finished(self) -> bool:
        """Whether all of its trials and confirmations have ended."""
        return self.trials_done + self.confirmed >= self.trials_total + self.seeds

    @property
    def lost(self) -> str:
        """What became of trials that did not end well, in brackets."""
        parts = [f"{self.trials[state]} {state}" for state in ("diverged", "failed")]
        named = [part for part in parts if not part.startswith("0 ")]
        return f" ({', '.join(named)})" if named else ""


@dataclass(frozen=True)
class Heartbeat:
    """What is true of a running sweep at one moment, as it is written for others to read.

    Attributes:
        at: Unix time.
        running: how many trials and confirmations run, by cell.
        retried: how many times a wave was tried again, by cell.
        nodes: host, CPUs and GPUs of each node.
        used, total: CPUs and GPUs that waves have, and that there are.
        images_a_second: that went through networks, over the last minute.
        runs_an_hour: trials and confirmations that ended, since the driver started.
        seconds_left: an estimate; None as long as nothing has ended.
    """

    at: float
    host: str
    pid: int
    running: dict[str, int]
    retried: dict[str, int]
    nodes: list[dict[str, Any]]
    used: dict[str, float]
    total: dict[str, float]
    images_a_second: float
    runs_an_hour: float
    seconds_left: float | None


class Pace:
    """How fast a sweep goes, and how long it may still take; from when it was made on."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        # Runs done, and seconds spent, at the time of the first update.
        self._before: tuple[int, float] | None = None
        self._cells: list[CellProgress] = []

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._started

    def note(self, cells: list[CellProgress]) -> None:
        """Take note of how far the cells are."""
        self._cells = list(cells)
        if self._before is None:
            self._before = runs_done(cells), sum(cell.seconds for cell in cells)

    def runs_an_hour(self) -> float:
        """Return how many trials and confirmations have ended in an hour, so far."""
        before = self._before[0] if self._before else 0
        return round((runs_done(self._cells) - before) * 3600 / max(1e-9, self.elapsed), 1)

    def seconds_left(self) -> float | None:
        """Estimate from what a run of the same cell, or of any cell, has cost so far.

        None as long as nothing has ended since the start.
        """
        done, spent = runs_done(self._cells), sum(cell.seconds for cell in self._cells)
        done_before, spent_before = self._before or (0, 0.0)
        if done == done_before or not spent:
            return None
        left = 0.0
        for cell in self._cells:
            own = cell.trials_done + cell.confirmed
            mean = cell.seconds / own if own else spent / done
            if not cell.given_up:
                left += mean * max(0, cell.trials_total + cell.seeds - own)
        busy = max(1, sum(bool(cell.running) for cell in self._cells))
        at_once = min(max(1.0, (spent - spent_before) / max(1e-9, self.elapsed)), busy)
        return left / at_once


def runs_done(cells: list[CellProgress]) -> int:
    """Count the trials and confirmations that have ended."""
    return sum(cell.trials_done + cell.confirmed for cell in cells)
