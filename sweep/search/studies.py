"""The study of one cell: which trial is next, which trials are pruned, which is best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.pruners import NopPruner
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from sweep.records.record import RunRecord
from sweep.search.domains import distribution_of, domain_of, domains_of
from sweep.search.ledger import DIRECTION, WrittenStudy
from sweep.search.pruners import LEAST_COMPLETE, TrialPruner
from sweep.search.samplers import spread_points, tpe_sampler
from sweep.search.warm_start import Params, box_around, lying_in, middle_of, without_nearest
from sweep.space.domains import Domain, End, Range, end_of, extend_range
from sweep.space.model import Cell, Space
from sweep.train.learner import Trial

_LEAST_OF_A_REPEAT = 2  # trials of a repeated confirmation
BEYOND = "beyond"  # attribute of a trial beyond an edge of its ranges
WARM = "warm_start"  # attribute of a trial that was spread where other cells have their best

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
        self._domains = domains_of(cell, space)
        self._storage = InMemoryStorage()
        self._study = optuna.create_study(
            storage=self._storage, direction=DIRECTION, pruner=NopPruner()
        )
        # Trials of a fused cell train as one matrix, so pruning one saves no time.
        pruner = "none" if cell.fused else space.budget.pruner
        self._pruner = TrialPruner(pruner, cell.epochs, cell.trials)
        for trial in written.read():
            self._study.add_trial(trial)
            self._pruner.add(trial)
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
        count = sum(BEYOND not in trial.user_attrs for trial in self._planned_trials())
        return max(0, self._cell.trials - count)

    def left_beyond(self) -> int:
        """Return how many trials beyond an edge of the ranges are still to be asked.

        Once the budget is spent and the best trial lies at an edge, a quarter of it more is
        searched beyond that edge, once; none where the space says ``edges: keep``.
        """
        if self._space.edges == "keep" or not (self._trials_beyond() or self._at_an_edge()):
            return 0
        return max(0, self._planned_beyond() - self.beyond())

    def beyond(self) -> int:
        """Return how many trials beyond an edge were asked so far."""
        return sum(BEYOND in trial.user_attrs for trial in self._planned_trials())

    def failed(self) -> set[int]:
        """Return the numbers of the trials that failed."""
        return {trial.number for trial in self._all(TrialState.FAIL)}

    def ask(self, wave: str, others: Sequence[Params] = ()) -> Trial:
        """Begin a new trial in a wave.

        Args:
            others: the best choices of other cells, of which a warm start learns; they count for
                the first trial, and all that are spread follow it.
        """
        if (number := self.trials()) >= self._spread:
            return self._begin(wave, self._domains, None)
        if number == 0 and (best := lying_in(others, self._domains)):
            box = box_around(best, self._domains)
            return self._begin(wave, box, middle_of(best, self._domains), WARM)
        if (warm := self._warm_box()) is not None:
            first, box = warm
            points = without_nearest(spread_points(box, self._spread), first, box)
            return self._begin(wave, box, points[number - 1], WARM)
        return self._begin(wave, self._domains, spread_points(self._domains, self._spread)[number])

    def ask_beyond(self, wave: str) -> Trial:
        """Begin a new trial beyond the edge at which the best trial lies."""
        domains, place = self._domains_beyond(), len(self._trials_beyond())
        point = spread_points(domains, self._planned_beyond())[place]
        return self._begin(wave, domains, point, BEYOND)

    def _warm_box(self) -> tuple[Params, dict[str, Domain]] | None:
        """Return the first trial of a warm start and the domains around it; None without one."""
        first = self._all()[:1]
        if not first or WARM not in first[0].user_attrs:
            return None
        domains = {name: domain_of(d) for name, d in first[0].distributions.items()}
        return first[0].params, domains

    @property
    def _spread(self) -> int:
        """How many trials are spread; the later ones are proposed by TPE."""
        return math.ceil(self._cell.trials / 2)

    def _begin(
        self,
        wave: str,
        domains: Mapping[str, Domain],
        params: Params | None,
        attribute: str | None = None,
    ) -> Trial:
        """Begin a trial with given params, or with those that TPE proposes.

        One sampler for all would draw on from where it stands, and elsewhere after a resume, so
        each trial has its own: one that knows the same trials proposes the same.
        """
        seed = self._cell.seed(self._space.split.seed, f"sampler {self.trials()}")
        self._study.sampler = tpe_sampler(self._spread, seed)
        if params is not None:
            self._study.enqueue_trial(dict(params))
        trial = self._study.ask({name: distribution_of(d) for name, d in domains.items()})
        for name, value in {"wave": wave, **({attribute: True} if attribute else {})}.items():
            trial.set_user_attr(name, value)
        self._open[trial.number] = trial
        self._pruner.add(self._frozen(trial.number))
        self._written.begin(self._frozen(trial.number))
        return _trial_of(self._frozen(trial.number))

    def _domains_beyond(self) -> dict[str, Domain]:
        """Return the domains to search beyond the edge; those of the first trial there, again."""
        if beyond := self._trials_beyond():
            return {name: domain_of(d) for name, d in beyond[0].distributions.items()}
        ends = self._at_an_edge()
        return {
            name: extend_range(d, ends.get(name)) if isinstance(d, Range) else d
            for name, d in self._domains.items()
        }

    def _at_an_edge(self) -> dict[str, End]:
        best = self._best()
        if best is None:
            return {}
        ranges = {name: d for name, d in self._domains.items() if isinstance(d, Range)}
        ends = {name: end_of(domain, best.params[name]) for name, domain in ranges.items()}
        return {name: end for name, end in ends.items() if end}

    def _planned_beyond(self) -> int:
        return math.ceil(self._cell.trials / 4)

    def _planned_trials(self) -> list[FrozenTrial]:
        return [trial for trial in self._all() if trial.number not in self._forgotten]

    def _trials_beyond(self) -> list[FrozenTrial]:
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
        if frozen.state.is_finished():  # its record was lost, so the trial runs again
            return
        if not any(step >= epoch for step in frozen.intermediate_values):
            self._trial(number).report(value, epoch)
            self._pruner.report(number, epoch, value)
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
        if len(lost) >= trials - max(LEAST_COMPLETE, math.ceil(trials / 3)):
            return False
        if self._cell.repeated:
            mates = [other for other in lost if (other - number) % repeats == 0]
            if len(mates) >= trials // repeats - _LEAST_OF_A_REPEAT:
                return False
        known = self._pruner.notes(number)
        given_up = self._pruner.should_prune(number)
        notes = self._pruner.notes(number).items()
        self._written.note(number, {name: value for name, value in notes if name not in known})
        return given_up

    def tell(self, record: RunRecord) -> None:
        """Close a trial with its result; again does no harm."""
        self._losses[record.number] = record.best.get("val/loss", math.inf)
        if self._frozen(record.number).state.is_finished():
            return
        trial = self._trial(record.number)
        value = record.best.get("value") if record.state == "complete" else None
        self._study.tell(trial, value, state=STATES[record.state])
        self._pruner.end(record.number, STATES[record.state], value)
        self._written.end(self._frozen(record.number), record.state)
        del self._open[record.number]

    def best_params(self) -> Params | None:
        """Return what the study proposed for its best complete trial."""
        best = self._best()
        return None if best is None else dict(best.params)

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
        if number not in self._open:  # an earlier driver began this trial
            study_id = self._storage.get_study_id_from_name(self._study.study_name)
            found = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
            self._open[number] = optuna.Trial(self._study, found)
        return self._open[number]


def _trial_of(frozen: FrozenTrial) -> Trial:
    params = dict(frozen.params)
    scale = params.pop("backbone_scale", None)
    if "learning_rate" in params:
        rate = params["learning_rate"]
        params["backbone_learning_rate"] = None if scale is None else rate * scale
    return Trial(frozen.number, params)
