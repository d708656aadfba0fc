"""The study of one cell: which trial is next, which trials are pruned, which is best."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from sweep.records.record import RunRecord
from sweep.search.ledger import DIRECTION, WrittenStudy
from sweep.space.model import Cell, Space
from sweep.space.ranges import End, Range, end_of, extend_range
from sweep.train.learner import Trial

_GOLDEN = (math.sqrt(5) - 1) / 2
_SHARES = {"weight_decay": 1 - _GOLDEN}  # of the range from one trial to the next, else the golden
_REDUCTION = 3  # one of so many trials passes a rung
_LEAST_COMPLETE = 3  # trials of a cell, whatever the pruner says
_LEAST_OF_A_REPEAT = 2  # of those that are dealt to one confirmation
BEYOND = "beyond"  # note of a trial beyond an edge of the ranges

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True)
class Proposal:
    """A trial that was asked, and the wave that it was put into."""

    trial: Trial
    wave: str


class CellStudy:
    """The trials of one cell: asked, reported, pruned, told.

    Args:
        written: the cell's study in the ledger. It is read once; every change is written to it.
    """

    def __init__(self, written: WrittenStudy, cell: Cell, space: Space) -> None:
        self._written, self._space, self._cell = written, space, cell
        self._study = optuna.create_study(
            direction=DIRECTION,
            sampler=self._sampler(0),
            # The trials of a fused cell train as one matrix: ending one of them saves nothing.
            pruner=_pruner("none" if cell.fused else space.budget.pruner, cell.epochs, cell.trials),
        )
        self._study.add_trials(written.read())
        self._open: dict[int, optuna.Trial] = {}
        self._losses: dict[int, float] = {}
        self._forgotten: frozenset[int] = frozenset()
        self._reported: dict[int, int] = {}

    def trials(self) -> int:
        """Return how many trials were asked so far, whatever became of them."""
        return len(self._all())

    def forget(self, failed: set[int]) -> None:
        """Let trials that failed not count, so that others are begun in their place."""
        self._forgotten = frozenset(failed)

    def left(self) -> int:
        """Return how many trials of the cell's budget were not asked yet."""
        count = sum(BEYOND not in trial.user_attrs for trial in self._counted())
        return max(0, self._cell.trials - count)

    def left_beyond(self) -> int:
        """Return how many trials beyond an edge of the ranges are still to be asked.

        Once the budget is spent and the best trial lies at an edge, a quarter of it more is
        searched beyond that edge, once; none where the space says ``edges: keep``.
        """
        if self._space.edges == "keep" or not (self._beyond() or self._at_an_edge()):
            return 0
        return max(0, self._planned_beyond() - self.beyond())

    def beyond(self) -> int:
        """Return how many trials beyond an edge were asked so far."""
        return sum(BEYOND in trial.user_attrs for trial in self._counted())

    def failed(self) -> set[int]:
        """Return the numbers of the trials that failed."""
        return {trial.number for trial in self._all(TrialState.FAIL)}

    def ask(self, wave: str) -> Trial:
        """Begin a new trial in a wave."""
        return self._begin(wave, self._space.domains())

    def ask_beyond(self, wave: str) -> Trial:
        """Begin a new trial beyond the edge at which the best trial lies."""
        domains, count = self._domains_beyond(), len(self._beyond())
        fixed = {
            name: _spread_value(domain, name, count, self._planned_beyond())
            for name, domain in domains.items()
        }
        self._study.enqueue_trial(fixed, user_attrs={BEYOND: True})
        return self._begin(wave, domains)

    def _begin(self, wave: str, domains: dict[str, Range]) -> Trial:
        self._study.sampler = self._sampler(self.trials())
        trial = self._study.ask()
        for name, domain in domains.items():
            trial.suggest_float(name, domain.low, domain.high, log=True)
        trial.set_user_attr("wave", wave)
        self._open[trial.number] = trial
        self._written.begin(self._frozen(trial.number))
        return _trial_of(self._frozen(trial.number))

    def _sampler(self, number: int) -> TPESampler:
        """Return the sampler of a trial: one that knows the same trials proposes the same.

        One sampler for all would draw on from where it stands, and elsewhere after a resume.
        """
        seed = self._cell.seed(self._space.split.seed, f"sampler {number}")
        return _SpreadThenTPE(math.ceil(self._cell.trials / 2), seed)

    def _domains_beyond(self) -> dict[str, Range]:
        """Return the ranges to search beyond the edge; those of the first trial there, again."""
        if beyond := self._beyond():
            found = beyond[0].distributions.items()
            return {name: Range(low=item.low, high=item.high) for name, item in found}
        ends = self._at_an_edge()
        return {
            name: extend_range(domain, ends.get(name))
            for name, domain in self._space.domains().items()
        }

    def _at_an_edge(self) -> dict[str, End]:
        best = self._best()
        if best is None:
            return {}
        ends = {name: end_of(d, best.params[name]) for name, d in self._space.domains().items()}
        return {name: end for name, end in ends.items() if end}

    def _planned_beyond(self) -> int:
        return math.ceil(self._cell.trials / 4)

    def _counted(self) -> list[FrozenTrial]:
        return [trial for trial in self._all() if trial.number not in self._forgotten]

    def _beyond(self) -> list[FrozenTrial]:
        return [trial for trial in self._all() if BEYOND in trial.user_attrs]

    def without_record(self, ended: set[int]) -> list[Proposal]:
        """Return the trials that were asked and have no record: of a driver that died, or lost.

        Args:
            ended: numbers of the trials that have one.
        """
        gone = {*ended, *self._forgotten}
        missing = [trial for trial in self._all() if trial.number not in gone]
        return [Proposal(_trial_of(trial), trial.user_attrs["wave"]) for trial in missing]

    def of_wave(self, wave: str) -> tuple[Trial, ...]:
        """Return all trials that were put into a wave."""
        return tuple(
            _trial_of(trial) for trial in self._all() if trial.user_attrs.get("wave") == wave
        )

    def report(self, number: int, epoch: int, value: float) -> None:
        """Report a member's best validation score up to an epoch; again does no harm."""
        frozen = self._frozen(number)
        self._reported[number] = epoch
        if frozen.state.is_finished():  # its record was lost, and it runs again
            return
        if not any(step >= epoch for step in frozen.intermediate_values):
            self._trial(number).report(value, epoch)
            self._written.report(number, epoch, value)

    def should_prune(self, number: int) -> bool:
        """Tell whether the pruner gives the trial up.

        Whatever it says, a third of the cell's trials, three at least, are completed; and where
        trials are dealt to confirmations, two at least of each.
        """
        frozen = self._frozen(number)
        if frozen.state.is_finished():
            last = max(frozen.intermediate_values, default=0)
            return frozen.state == TrialState.PRUNED and self._reported[number] >= last
        lost = [
            trial.number
            for trial in self._all(TrialState.PRUNED, TrialState.FAIL)
            if trial.number not in self._forgotten
        ]
        trials, repeats = self._cell.trials, self._cell.confirmations
        if len(lost) >= trials - max(_LEAST_COMPLETE, math.ceil(trials / 3)):
            return False
        if self._cell.repeated:
            mates = [other for other in lost if (other - number) % repeats == 0]
            if len(mates) >= trials // repeats - _LEAST_OF_A_REPEAT:
                return False
        known = frozen.system_attrs
        given_up = bool(self._trial(number).should_prune())
        noted = self._frozen(number).system_attrs  # such as a rung that it has passed
        new = {name: value for name, value in noted.items() if name not in known}
        self._written.note(number, new)
        return given_up

    def tell(self, record: RunRecord) -> None:
        """Close a trial with its result; again does no harm."""
        self._losses[record.number] = record.best.get("val/loss", math.inf)
        if self._frozen(record.number).state.is_finished():
            return
        trial = self._trial(record.number)
        value = record.best.get("value") if record.state == "complete" else None
        self._study.tell(trial, value, state=STATES[record.state])
        self._written.end(self._frozen(record.number), record.state)
        del self._open[record.number]

    def best(self) -> Trial | None:
        """Return the best complete trial; among equals that of the lowest loss.

        The losses are those of the records that were told: the ledger holds values alone.
        """
        best = self._best()
        return None if best is None else _trial_of(best)

    def tried(self) -> tuple[Trial, ...]:
        """Return every trial that was not lost to a failure, each choice once."""
        lost = {TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING}
        found = [_trial_of(trial) for trial in self._all() if trial.state not in lost]
        return tuple({trial.identity: trial for trial in reversed(found)}.values())[::-1]

    def complete(self) -> tuple[Trial, ...]:
        """Return every complete trial."""
        return tuple(_trial_of(trial) for trial in self._all(TrialState.COMPLETE))

    def _best(self) -> FrozenTrial | None:
        def goodness(trial: FrozenTrial) -> tuple[float, float]:
            value = -math.inf if trial.value is None else float(trial.value)
            return value, -self._losses.get(trial.number, math.inf)

        return max(self._all(TrialState.COMPLETE), key=goodness, default=None)

    def _all(self, *states: TrialState) -> list[FrozenTrial]:
        trials: list[FrozenTrial] = self._study.get_trials(deepcopy=False, states=states or None)
        return trials

    def _frozen(self, number: int) -> FrozenTrial:
        return self._all()[number]

    def _trial(self, number: int) -> optuna.Trial:
        if number not in self._open:  # begun by a driver before this one
            self._open[number] = optuna.Trial(self._study, self._frozen(number)._trial_id)
        return self._open[number]


class _SpreadThenTPE(TPESampler):  # type: ignore[misc]
    """First rates spread evenly over the logarithmic range, then those that TPE expects to win.

    Args:
        spread: how many trials are spread; trial i gets the i-th of that many points, taken in
            an order in which any first few already cover the range.
    """

    def __init__(self, spread: int, seed: int) -> None:
        super().__init__(seed=seed, n_startup_trials=spread, constant_liar=True)
        self._spread = spread

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if trial.number >= self._spread or not isinstance(param_distribution, FloatDistribution):
            return super().sample_independent(study, trial, param_name, param_distribution)
        return _spread_value(param_distribution, param_name, trial.number, self._spread)


def _spread_value(domain: FloatDistribution | Range, name: str, index: int, count: int) -> float:
    """Return point number `index` of `count` that are spread evenly over a logarithmic range.

    The order covers the range early, and is another one for each hyper-parameter, so that the
    space is covered too.
    """
    place = _covering_order(count)[index]
    if name != "learning_rate":
        place = (place * _coprime(count, _SHARES.get(name, _GOLDEN)) + count // 2) % count
    low, high = math.log(domain.low), math.log(domain.high)
    value = math.exp(low + (high - low) * (place + 0.5) / count)
    return float(min(max(value, domain.low), domain.high))


def _covering_order(count: int) -> list[int]:
    """Return 0..count-1 by van der Corput's sequence: the middle, the quarters, and so on."""
    bits = max(1, (count - 1).bit_length())
    reversed_bits = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(1 << bits))
    return [place for place in reversed_bits if place < count]


def _coprime(count: int, share: float) -> int:
    candidates = range(max(1, round(count * share)), count + 1)
    return next((step for step in candidates if math.gcd(step, count) == 1), 1)


class _Hyperband(BasePruner):  # type: ignore[misc]
    """Hyperband (Li et al. 2018) for the few trials of a cell.

    Optuna's own, but for two things. Its sampler sees every trial: behind a HyperbandPruner it
    would see those of its own bracket alone, too few to learn from. And see `_EvenBrackets`.
    """

    def __init__(self, epochs: int, trials: int) -> None:
        self._brackets = _EvenBrackets(epochs, trials)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return bool(self._brackets.prune(study, trial))


class _EvenBrackets(HyperbandPruner):  # type: ignore[misc]
    """Deals trials to the brackets in Hyperband's proportions, whichever few they are.

    Optuna deals by a hash, so that of 16 trials half may land where nothing is pruned. Brackets
    that would get fewer trials than it takes to prune one are left out.
    """

    def __init__(self, epochs: int, trials: int) -> None:
        first = first_rung(epochs)
        super().__init__(min_resource=first, max_resource=epochs, reduction_factor=_REDUCTION)
        self._trials = trials

    def _get_bracket_id(self, study: optuna.Study, trial: FrozenTrial) -> int:
        budgets = self._trial_allocation_budgets
        fewest = sum(budgets) * _REDUCTION / self._trials
        ends = list(itertools.accumulate(budget for budget in budgets if budget >= fewest))
        # Multiples of the golden ratio are even, and unlike the order of the rates.
        place = math.modf((trial.number + 0.5) * _GOLDEN)[0] * (ends[-1] if ends else 0)
        return next((bracket for bracket, end in enumerate(ends) if place < end), 0)


def first_rung(epochs: int) -> int:
    """Return the epoch before which nothing is pruned: earlier, high rates beat better low ones."""
    return max(5, math.ceil(epochs / 9))


def _pruner(kind: str, epochs: int, trials: int) -> BasePruner:
    first = first_rung(epochs)
    if kind == "none" or first >= epochs:
        return NopPruner()
    if kind == "median":
        return MedianPruner(n_startup_trials=_LEAST_COMPLETE, n_warmup_steps=first)
    return _Hyperband(epochs, trials)


def _trial_of(frozen: FrozenTrial) -> Trial:
    params: dict[str, float | None] = dict(frozen.params)
    scale = params.pop("backbone_scale", None)
    rate = frozen.params["learning_rate"]
    params["backbone_learning_rate"] = None if scale is None else rate * scale
    return Trial(frozen.number, params)
