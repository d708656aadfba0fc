"""Which trials of a cell are given up: Optuna's pruners, each on the trials that it is to compare.

Hyperband (Li et al. 2018) deals trials to brackets, and each bracket halves its own. Optuna's
`HyperbandPruner` deals by a hash, so that of 16 trials half may land where nothing is pruned, and
its sampler sees the trials of one bracket alone, too few to learn from. Here each bracket is a
study in memory with Optuna's `SuccessiveHalvingPruner`, the trials are dealt in Hyperband's
proportions, and the sampler's study, which holds all trials, has no pruner.
"""

import itertools
import math
from typing import Any

import optuna
from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.search.ledger import DIRECTION
from sweep.search.samplers import GOLDEN

_REDUCTION = 3  # one of this many trials continues beyond a rung
LEAST_COMPLETE = 3  # this many trials of each cell are never pruned


class TrialPruner:
    """Judges the trials of one cell by what they have reported.

    Args:
        kind: ``hyperband``, ``median`` or ``none``.
        epochs: of a trial that is not pruned.
        trials: how many the cell will have.
    """

    def __init__(self, kind: str, epochs: int, trials: int) -> None:
        pruners, self._shares = _brackets(kind, epochs, trials)
        self._brackets = [_Bracket(pruner) for pruner in pruners]

    def add(self, trial: FrozenTrial) -> None:
        """Take up a trial of the cell, as far as it is."""
        if bracket := self._bracket(trial.number):
            bracket.add(trial)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Take note of the score that a trial has reached after an epoch."""
        if bracket := self._bracket(number):
            bracket.trials[number].report(value, epoch)

    def should_prune(self, number: int) -> bool:
        """Tell whether a trial is to be given up after its last report."""
        bracket = self._bracket(number)
        return bracket is not None and bool(bracket.trials[number].should_prune())

    def notes(self, number: int) -> dict[str, Any]:
        """Return what the pruner has to know of a trial when it judges others: rungs it passed."""
        bracket = self._bracket(number)
        return {} if bracket is None else bracket.notes(number)

    def end(self, number: int, state: TrialState, value: float | None) -> None:
        """Take note of how a trial has ended."""
        if bracket := self._bracket(number):
            bracket.study.tell(bracket.trials[number], value, state=state)

    def _bracket(self, number: int) -> "_Bracket | None":
        if not self._brackets:
            return None
        ends = list(itertools.accumulate(self._shares))
        # Multiples of the golden ratio are evenly distributed, whatever the order of trials.
        place = math.modf((number + 0.5) * GOLDEN)[0] * ends[-1]
        return next(b for b, end in zip(self._brackets, ends, strict=True) if place < end)


class _Bracket:
    """Trials that are compared with one another: a study in memory, in which they are numbered."""

    def __init__(self, pruner: BasePruner) -> None:
        self._storage = InMemoryStorage()
        self.study = optuna.create_study(
            storage=self._storage,
            direction=DIRECTION,
            sampler=RandomSampler(),  # the bracket's study never samples
            pruner=pruner,
        )
        self._id = self._storage.get_study_id_from_name(self.study.study_name)
        self.trials: dict[int, optuna.Trial] = {}
        self._ids: dict[int, int] = {}

    def add(self, trial: FrozenTrial) -> None:
        self._ids[trial.number] = self._storage.create_new_trial(
            self._id,
            create_trial(
                state=trial.state,
                value=trial.value,
                system_attrs=trial.system_attrs,
                intermediate_values=trial.intermediate_values,
            ),
        )
        self.trials[trial.number] = optuna.Trial(self.study, self._ids[trial.number])

    def notes(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self._storage.get_trial_system_attrs(self._ids[number])
        return found


def first_rung(epochs: int) -> int:
    """Return the epoch before which nothing is pruned: earlier, high rates beat better low ones."""
    return max(5, math.ceil(epochs / 9))


def _brackets(kind: str, epochs: int, trials: int) -> tuple[list[BasePruner], list[int]]:
    """Return a pruner for each bracket, and the bracket's share of the trials."""
    first = first_rung(epochs)
    if kind == "none" or first >= epochs:
        return [], []
    if kind == "median":
        return [MedianPruner(n_startup_trials=LEAST_COMPLETE, n_warmup_steps=first)], [1]
    count = math.floor(math.log(epochs / first, _REDUCTION)) + 1
    shares = [_share(count, bracket) for bracket in range(count)]
    fewest = sum(shares) * _REDUCTION / trials  # a bracket with fewer trials would prune none
    kept = [bracket for bracket in range(count) if shares[bracket] >= fewest] or [0]
    pruners = [
        SuccessiveHalvingPruner(
            min_resource=first, reduction_factor=_REDUCTION, min_early_stopping_rate=bracket
        )
        for bracket in kept
    ]
    return pruners, [shares[bracket] for bracket in kept]


def _share(count: int, bracket: int) -> int:
    """Return Hyperband's number of trials for one of its brackets (n in its Algorithm 1)."""
    halvings = count - 1 - bracket
    return math.ceil(count * math.pow(_REDUCTION, halvings) / (halvings + 1))
