"""A sweep that is to end in time: when to begin no more trials, to have time to confirm."""

from collections.abc import Iterable

from sweep.search.cellwork import CellWork

_SCORING = 0.05  # of a training: what a confirmation takes whose model is trained already


class Deadline:
    """Tells when the search has to end, from what trials have taken so far.

    Args:
        at: Unix time at which the sweep is to be over; None if it has all time.
    """

    def __init__(self, at: float | None) -> None:
        self._at = at
        self._at_once = 1  # waves that have run side by side

    @property
    def is_set(self) -> bool:
        """Whether there is a deadline."""
        return self._at is not None

    def is_due(self, cells: Iterable[CellWork], running: int, now: float) -> bool:
        """Tell whether a trial that begins now may leave too little time for the confirmations.

        Args:
            running: waves under way.
            now: Unix time.
        """
        if self._at is None:
            return False
        self._at_once = max(self._at_once, running)
        works = list(cells)
        to_confirm = sum(_confirming(work) for work in works) / self._at_once
        longest = max((_of_a_trial(work) for work in works if work.left or work.again), default=0.0)
        return now + to_confirm + longest >= self._at


def _of_a_trial(work: CellWork) -> float:
    """Return the seconds that a trial of a cell has taken, on average; 0 before the first."""
    seconds = [record.seconds for record in work.searched_trials.values()]
    return sum(seconds) / len(seconds) if seconds else 0.0


def _confirming(work: CellWork) -> float:
    """Return the seconds that a cell's confirmations will take."""
    left = work.progress.seeds - len(work.confirmed)
    trained = len(work.searched_trials) if work.cell.fused else 1
    part = _SCORING if work.cell.repeated else trained
    return left * part * _of_a_trial(work)
