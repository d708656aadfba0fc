"""The ledger: one Optuna study a cell, all in the storage of the sweep."""

import itertools
import logging
import math
import re
import sqlite3
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from sweep.errors import SweepError
from sweep.home import RunRecord
from sweep.identity import canonical_hash
from sweep.search.wave import rungs
from sweep.space import Cell, Space
from sweep.train.learner import Rate

_GOLDEN = (math.sqrt(5) - 1) / 2
_ID = "sweep.id"
_REDUCTION = 3  # one of so many trials passes a rung

_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True)
class Asked:
    """A trial that was asked and not told: its rates and the wave it was dealt in, if any."""

    rate: Rate
    wave: str | None


class Ledger:
    """Opens the studies of a sweep. Only the driver does."""

    def __init__(self, url: str, sweep: str, sweep_id: str = "") -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        if url.startswith("sqlite:///"):  # readers such as `sweep status` then never block it
            with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            connection.close()
        self._storage = RDBStorage(url)
        self._sweep, self._id = sweep, sweep_id

    def study(self, cell: Cell, space: Space) -> "CellStudy":
        """Open or create the study of a cell."""
        seed = int(canonical_hash([space.split.seed, cell.name], length=8), 16)
        study = optuna.create_study(
            storage=self._storage,
            study_name=f"{self._sweep}/{cell.name}",
            direction="maximize",
            load_if_exists=True,
            sampler=_SpreadThenTPE(math.ceil(cell.trials / 2), seed),
            pruner=_pruner(space.budget.pruner, cell.epochs, cell.trials),
        )
        if self._id and _ID not in study.user_attrs:
            study.set_user_attr(_ID, self._id)
        return CellStudy(study, space)


def refuse_ledger(url: str, space: Space, sweep_id: str) -> None:
    """Raise SweepError if a storage cannot be used, or holds another sweep of the same name."""
    if re.search(r"://[^/@\s]*:[^/@\s]+@", url):
        raise SweepError(
            "--ledger: a password in the URL would be kept in launch.json; leave it out, and "
            "set PGPASSWORD, or use ~/.pgpass"
        )
    try:
        storage = RDBStorage(url)
        studies = optuna.get_all_study_summaries(storage)
    except Exception as error:  # of SQLAlchemy, of any driver
        first_line = str(error).strip().splitlines()[0][:300]
        raise SweepError(f"--ledger {url} cannot be opened: {first_line}") from None
    for study in studies:
        own = study.study_name.startswith(f"{space.name}/")
        if own and study.user_attrs.get(_ID) != sweep_id:
            raise SweepError(
                f"the ledger at {url} holds another sweep called {space.name}: launch under "
                "another --name"
            )


class CellStudy:
    """The trials of one cell: asked, reported, pruned, told."""

    def __init__(self, study: optuna.Study, space: Space) -> None:
        self._study, self._space = study, space
        self._open: dict[int, Trial] = {}

    def trials(self) -> int:
        """Return how many trials were asked so far, whatever became of them."""
        return len(self._study.get_trials(deepcopy=False))

    def failed(self) -> set[int]:
        """Return the numbers of the trials that failed."""
        failed = self._study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return {trial.number for trial in failed}

    def ask(self, wave: str) -> Rate:
        """Begin a new trial in a wave."""
        return self._suggest(self._study.ask(), wave)

    def adopt(self, number: int, wave: str) -> Rate:
        """Take up a trial that was begun, in this wave."""
        frozen = self._frozen(number)
        return self._suggest(Trial(self._study, frozen._trial_id), wave)

    def unfinished(self) -> list[Asked]:
        """Return the trials that were asked and not told: those of a driver that died."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [
            Asked(_rate(trial) or Rate(trial.number, 0.0), trial.user_attrs.get("wave"))
            for trial in running
        ]

    def report(self, number: int, epoch: int, value: float) -> None:
        """Report a member's best validation score up to an epoch; again does no harm."""
        trial = self._trial(number)
        if not any(step >= epoch for step in self._frozen(number).intermediate_values):
            trial.report(value, epoch)

    def should_prune(self, number: int) -> bool:
        """Tell whether the pruner gives the trial up."""
        return bool(self._trial(number).should_prune())

    def tell(self, record: RunRecord) -> None:
        """Close a trial with its result; again does no harm."""
        frozen = self._frozen(record.number)
        if frozen.state.is_finished():
            return
        trial = self._trial(record.number)
        trial.set_user_attr("state", record.state)
        if record.best:
            trial.set_user_attr("loss", record.best["val/loss"])
        value = record.best.get("value") if record.state == "complete" else None
        self._study.tell(record.number, value, state=_STATES[record.state])
        self._open.pop(record.number, None)

    def best(self) -> Rate | None:
        """Return the rates of the best complete trial; among equals that of the lowest loss."""
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not complete:
            return None
        best = max(complete, key=lambda t: (t.value, -t.user_attrs.get("loss", math.inf)))
        return _rate(best)

    def _suggest(self, trial: Trial, wave: str) -> Rate:
        self._open[trial.number] = trial
        domain = self._space.learning_rate
        rate = trial.suggest_float("learning_rate", domain.low, domain.high, log=True)
        trunk_rate = None
        if scale := domain.backbone_scale:
            trunk_rate = rate * trial.suggest_float(
                "backbone_scale", scale.low, scale.high, log=True
            )
        trial.set_user_attr("wave", wave)
        return Rate(trial.number, rate, trunk_rate)

    def _trial(self, number: int) -> Trial:
        if number not in self._open:
            self._open[number] = Trial(self._study, self._frozen(number)._trial_id)
        return self._open[number]

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]


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
        place = _covering_order(self._spread)[trial.number]
        if param_name != "learning_rate":  # another order, so that the plane is covered too
            place = (place * _coprime(self._spread) + self._spread // 2) % self._spread
        low, high = math.log(param_distribution.low), math.log(param_distribution.high)
        value = math.exp(low + (high - low) * (place + 0.5) / self._spread)
        return min(max(value, param_distribution.low), param_distribution.high)


def _covering_order(count: int) -> list[int]:
    """Return 0..count-1 by van der Corput's sequence: the middle, the quarters, and so on."""
    bits = max(1, (count - 1).bit_length())
    reversed_bits = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(1 << bits))
    return [place for place in reversed_bits if place < count]


def _coprime(count: int) -> int:
    candidates = range(max(1, round(count * 0.618)), count + 1)
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
    that would get fewer trials than it takes to prune one are left out. The first rung is at a
    ninth of the epochs or a little before: earlier, high rates beat the better low ones
    (benchmarks/search_quality.py tells).
    """

    def __init__(self, epochs: int, trials: int) -> None:
        first = max((rung for rung in rungs(epochs) if 9 * rung <= epochs), default=1)
        super().__init__(min_resource=first, max_resource=epochs, reduction_factor=_REDUCTION)
        self._trials = trials

    def _get_bracket_id(self, study: optuna.Study, trial: FrozenTrial) -> int:
        budgets = self._trial_allocation_budgets
        fewest = sum(budgets) * _REDUCTION / self._trials
        ends = list(itertools.accumulate(budget for budget in budgets if budget >= fewest))
        # Multiples of the golden ratio are even, and unlike the order of the rates.
        place = math.modf((trial.number + 0.5) * _GOLDEN)[0] * (ends[-1] if ends else 0)
        return next((bracket for bracket, end in enumerate(ends) if place < end), 0)


def _pruner(kind: str, epochs: int, trials: int) -> BasePruner:
    if kind == "hyperband" and epochs > 1:
        return _Hyperband(epochs, trials)
    if kind == "median" and epochs > 1:
        return MedianPruner(n_startup_trials=2, n_warmup_steps=1)
    return NopPruner()


def _rate(trial: FrozenTrial) -> Rate | None:
    rate = trial.params.get("learning_rate")
    if rate is None:
        return None
    scale = trial.params.get("backbone_scale")
    return Rate(trial.number, rate, None if scale is None else rate * scale)
