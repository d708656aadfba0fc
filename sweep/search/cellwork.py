"""What is left to do of one cell: trials to begin, trials beyond an edge, confirmations."""

from collections import Counter
from collections.abc import Callable

from sweep.records.progress import CellProgress
from sweep.records.record import RunRecord
from sweep.search.studies import CellStudy
from sweep.space.model import Cell
from sweep.train.learner import Trial
from sweep.train.wave import Wave, choice_identity


class CellWork:
    """The waves of one cell: what is left to begin, what is under way.

    Args:
        choices: returns the rates that a confirmation, by its index, chooses from.
    """

    def __init__(
        self,
        cell: Cell,
        study: CellStudy,
        progress: CellProgress,
        choices: Callable[["CellWork", int], tuple[Trial, ...]],
    ) -> None:
        self.cell, self.study, self.progress = cell, study, progress
        self.left = study.left()
        self.again: list[Wave] = []  # waves to run again, after an error or the driver's death
        self.searching = 0  # trials that run now
        self.searched_trials: dict[int, RunRecord] = {}
        self.confirming: set[int] = set()
        self.confirmed: dict[int, RunRecord] = {}
        self.waves = 0
        self.failures: Counter[str] = Counter()
        self.lost_in_a_row = 0
        self.blocked = ""  # why the cell starts no further wave, though some are left
        self.paused = 0  # waves that a stop left for the next launch
        self._choices = choices
        self._chosen: dict[int, tuple[Trial, ...]] = {}
        self._identities: dict[int, str] = {}

    @property
    def searched(self) -> bool:
        """Whether nothing of the budget is left to begin or under way."""
        return not (self.left or self.searching or self.again)

    def end_search(self) -> None:
        """Begin no more trials, as the sweep has to end in time."""
        self.progress.left_out += self.left
        self.left = 0

    def share_begun(self) -> float:
        """Return the share of the cell's trials and confirmations that have begun."""
        trials = self.cell.trials - self.left - sum(len(wave.trials) for wave in self.again)
        confirmations = len(self.confirming) + len(self.confirmed)
        return (trials + confirmations) / (self.progress.trials_total + self.progress.seeds)

    @property
    def left_beyond(self) -> int:
        """How many trials beyond an edge of the ranges are left, once the budget is spent."""
        if self.left or self.again or self.progress.given_up or self.progress.left_out:
            return 0
        if self.searching and not self.study.beyond():
            return 0  # a running trial may still become the best
        return self.study.left_beyond()

    @property
    def unfinished(self) -> bool:
        """Tell whether the cell still has something that can begin."""
        if not self.searched or self.paused or self.left_beyond:
            return True
        return bool(self.unconfirmed())

    def choices(self, index: int) -> tuple[Trial, ...]:
        """Return the trials that a confirmation would choose from, as far as trials have ended."""
        return self._choices(self, index)

    def choice(self, index: int) -> tuple[Trial, ...]:
        """Return the trials that a confirmation chooses from, once all trials have ended."""
        if index not in self._chosen:
            self._chosen[index] = self.choices(index)
            self._identities[index] = choice_identity(self._chosen[index])
        return self._chosen[index]

    def identity(self, index: int) -> str:
        """Return the identity of what a confirmation chooses from."""
        self.choice(index)
        return self._identities[index]

    def unconfirmed(self) -> set[int]:
        """Return which confirmations there are not.

        Those that chose from other trials, before the budget was raised, do not count.
        """
        if self.study.best() is None:
            return set()
        return {
            index
            for index in range(self.progress.seeds)
            if index not in self.confirmed or self.confirmed[index].choice != self.identity(index)
        }
