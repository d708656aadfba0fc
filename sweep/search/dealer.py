"""The dealer: which wave of which cell runs next, and what its reports mean.

Knows nothing of Ray: waves go out by `deal`, reports come in by `hear` and `finish`.
"""

import logging
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from sweep.home import RunRecord
from sweep.progress import CellProgress
from sweep.search.ledger import Ledger
from sweep.search.studies import CellStudy
from sweep.search.wave import Report, Surroundings, Wave
from sweep.space import Cell
from sweep.train.learner import Best, EpochScore, Rate

GIVE_UP_AFTER = 3  # waves of a cell that failed for good, one after the other

log = logging.getLogger("sweep.search")


@dataclass
class _Underway:
    """A wave that was dealt: what was heard of its members."""

    wave: Wave
    started: float
    histories: dict[int, dict[int, EpochScore]]
    best: dict[int, Best]
    open: set[int]
    images: int = 0


class _CellWork:
    """The waves of one cell: what is left to deal, what is under way."""

    def __init__(self, cell: Cell, study: CellStudy, progress: CellProgress) -> None:
        self.cell, self.study, self.progress = cell, study, progress
        self.left = max(0, cell.trials - study.trials())
        self.again: list[Wave] = []  # of a driver that died, or that failed and is tried again
        self.searching = 0  # trials asked and not told
        self.confirming: set[int] = set()
        self.confirmed: dict[int, RunRecord] = {}
        self.waves = 0
        self.failures: Counter[str] = Counter()
        self.lost_in_a_row = 0
        self.paused = 0  # waves that a stop has left for the next time

    @property
    def searched(self) -> bool:
        return not (self.left or self.searching or self.again)

    @property
    def unfinished(self) -> bool:
        """Tell whether the cell still has something to deal that can be dealt."""
        if not self.searched or self.paused:
            return True
        return bool(self.unconfirmed(self.study.best()))

    def unconfirmed(self, rate: Rate | None) -> set[int]:
        """Return which confirmations of the best rate there are not.

        Those of a rate that was the best before the budget was raised do not count.
        """
        if rate is None:
            return set()
        return {
            index
            for index in range(self.progress.seeds)
            if index not in self.confirmed
            or self.confirmed[index].params.get("learning_rate") != rate.learning_rate
        }


class Dealer:
    """Deals the waves of a sweep and keeps its ledger and records.

    Args:
        changed: called after every change of the progress.
    """

    def __init__(
        self, around: Surroundings, ledger: Ledger, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._around, self._changed = around, changed
        self._folder, self._space = around.folder, around.space
        self._draining = False
        self._underway: dict[str, _Underway] = {}
        self._work: dict[str, _CellWork] = {}
        records: dict[str, list[RunRecord]] = defaultdict(list)
        for record in self._folder.records():
            records[record.cell].append(record)
        for cell in self._space.cells():
            progress = CellProgress(cell, self._space.confirmations)
            study = CellStudy(ledger.study(cell.name), cell, self._space)
            self._work[cell.name] = self._recover(cell, study, progress, records[cell.name])

    def __getstate__(self) -> dict[str, object]:
        """Return nothing: Tune pickles its searcher, but the ledger is the truth."""
        return {}

    @property
    def progress(self) -> list[CellProgress]:
        """How far each cell is, in the order of the grid."""
        return [work.progress for work in self._work.values()]

    @property
    def finished(self) -> bool:
        """Tell whether nothing is left to deal or to wait for."""
        return not self._underway and all(self._next(w) is None for w in self._work.values())

    @property
    def unfinished(self) -> bool:
        """Tell whether something is left for the next time, for whatever reason."""
        return any(work.unfinished for work in self._work.values())

    def drain(self) -> None:
        """Deal no more; what is under way may end or pause."""
        if not self._draining:
            log.info("stopping: waves under way keep a checkpoint, no more are dealt")
        self._draining = True

    def deal(self) -> Wave | None:
        """Return the next wave, or None if all there is to do is under way."""
        ready = [work for work in self._work.values() if self._next(work) is not None]
        if not ready:
            return None
        work = min(ready, key=_share_dealt)
        build = self._next(work)
        assert build is not None
        wave = build()
        work.waves += 1
        numbers = {rate.number for rate in wave.rates}
        self._underway[wave.key] = _Underway(
            wave,
            time.time(),
            {number: {} for number in numbers},
            {number: Best(self._space.objective) for number in numbers},
            numbers,
        )
        work.progress.running += len(numbers)
        log.info("%s: %s begins", wave.cell.name, _title(wave))
        self._changed()
        return wave

    def hear(self, key: str, report: Report) -> tuple[list[int], bool]:
        """Take a report of a wave under way.

        Returns the members to give up, and whether none is left.
        """
        underway = self._underway.get(key)
        if underway is None:
            return [], True
        work = self._work[underway.wave.cell.name]
        self._note(underway, report)
        pruned: list[int] = []
        if underway.wave.kind == "trial" and not report.done:
            pruned = self._prune(underway, work, report)
            for number in pruned:
                self._end(underway, work, number, "pruned", report)
        if not underway.open:
            del self._underway[key]
            self._forget_checkpoint(key)
        self._changed()
        return pruned, not underway.open

    def finish(self, key: str, report: Report) -> None:
        """Take the last report of a wave; a second time does nothing."""
        underway = self._underway.get(key)
        if underway is None:
            return
        if report.paused:
            self.drain()  # a worker may see that the sweep is to be stopped before the driver does
            self._pause(key)
            return
        if report.error:
            self.fail(key, report.error, report.retry, report.log)
            return
        work = self._work[underway.wave.cell.name]
        self._note(underway, report)
        for number in sorted(underway.open):
            history = underway.histories[number]
            diverged = any(item.diverged for item in history.values())
            lost = diverged and (underway.wave.kind == "trial" or not report.test)
            self._end(underway, work, number, "diverged" if lost else "complete", report)
        del self._underway[key]
        self._forget_checkpoint(key)
        work.lost_in_a_row = 0
        log.info("%s: %s ends", underway.wave.cell.name, _title(underway.wave))
        self._changed()

    def fail(self, key: str, error: str, retry: bool = True, log_file: str | None = None) -> None:
        """Take note that a wave died; it is dealt again, so often as the settings say."""
        underway = self._underway.pop(key, None)
        if underway is None:
            return
        work, wave = self._work[underway.wave.cell.name], underway.wave
        work.failures[key] += 1
        if retry and work.failures[key] <= self._around.retries:
            again = f"tried again, {work.failures[key]} of {self._around.retries} times"
            log.warning("%s: %s failed and is %s: %s", wave.cell.name, _title(wave), again, error)
            work.progress.running -= len(underway.open)
            work.progress.retried += 1
            rates = tuple(rate for rate in wave.rates if rate.number in underway.open)
            work.again.append(replace(wave, rates=rates))
        else:
            log.error("%s: %s failed: %s", wave.cell.name, _title(wave), error)
            for number in sorted(underway.open):
                self._end(underway, work, number, "failed", Report(error=error, log=log_file))
            self._forget_checkpoint(key)
            work.lost_in_a_row += 1
            if not retry or work.lost_in_a_row >= GIVE_UP_AFTER:
                self._give_up(work)
        self._changed()

    def _give_up(self, work: _CellWork) -> None:
        """Deal no more trials of a cell that keeps failing; a resumed sweep tries it again."""
        if work.left:
            log.error("%s: given up, %d trials are not begun", work.cell.name, work.left)
            work.left, work.progress.given_up = 0, True

    def _pause(self, key: str) -> None:
        """Leave a wave as the ledger has it: begun, and not told."""
        underway = self._underway.pop(key)
        work = self._work[underway.wave.cell.name]
        work.progress.running -= len(underway.open)
        work.paused += 1
        log.info("%s: %s pauses", underway.wave.cell.name, _title(underway.wave))
        self._changed()

    def _next(self, work: _CellWork) -> Callable[[], Wave] | None:
        """Return what builds the cell's next wave, or None if it has to wait or is done."""
        if self._draining:
            return None
        if work.again:
            return lambda: work.again.pop(0)
        if work.left:
            fused = work.cell.freeze == "frozen"
            if fused and work.searching:
                return None  # the second wave learns from the first
            size = min(work.left, math.ceil(work.cell.trials / 2) if fused else 1)
            return lambda: self._search_wave(work, size)
        return self._next_confirmation(work) if work.searched else None

    def _next_confirmation(self, work: _CellWork) -> Callable[[], Wave] | None:
        rate = work.study.best()
        seeds = work.unconfirmed(rate) - work.confirming
        if rate is None or not seeds:
            return None
        return lambda: self._confirmation(work, min(seeds), rate)

    def _search_wave(self, work: _CellWork, size: int) -> Wave:
        key = f"{self._around.sweep_id}:{work.cell.name}:wave:{work.study.trials()}"
        rates = tuple(work.study.ask(key) for _ in range(size))
        work.left -= size
        work.searching += size
        return Wave(key, "trial", work.cell, rates, self._space.split.seed)

    def _confirmation(self, work: _CellWork, index: int, rate: Rate) -> Wave:
        work.confirming.add(index)
        if stale := work.confirmed.pop(index, None):
            work.progress.confirmations[stale.state] -= 1
        key = self._key(work.cell, "confirmation", index)
        confirmed = Rate(index, rate.learning_rate, rate.backbone_learning_rate)
        # A seed that the search did not choose the rate by.
        seed = self._space.split.seed + 1 + index
        fold = index if self._space.split.folds else 0
        return Wave(key, "confirmation", work.cell, (confirmed,), seed, fold)

    def _note(self, underway: _Underway, report: Report) -> None:
        work = self._work[underway.wave.cell.name]
        work.progress.images += max(0, report.images - underway.images)
        underway.images = max(underway.images, report.images)
        for item in report.scores:
            history = underway.histories.get(item.number)
            if history is None or item.epoch in history:
                continue
            history[item.epoch] = item
            work.progress.epochs += 1
            if not item.diverged and underway.best[item.number].offer(item):
                value = underway.best[item.number].value
                work.progress.best = max(work.progress.best, value)

    def _prune(self, underway: _Underway, work: _CellWork, report: Report) -> list[int]:
        learning = []
        for number in sorted(underway.open):
            history = underway.histories[number]
            if any(item.diverged for item in history.values()):
                self._end(underway, work, number, "diverged", report)
            elif underway.best[number].epoch:
                work.study.report(number, report.epoch, underway.best[number].value)
                learning.append(number)
        # The best first: a pruner that ranks those it has seen passes whoever comes first.
        learning.sort(key=lambda number: -underway.best[number].value)
        return [number for number in learning if work.study.should_prune(number)]

    def _end(
        self, underway: _Underway, work: _CellWork, number: int, state: str, report: Report
    ) -> None:
        record = self._as_record(underway, number, state, report)
        self._folder.write_record(record)  # first the result, then the ledger: see _recover
        underway.open.discard(number)
        work.progress.running -= 1
        self._count(work, record)
        if record.kind == "trial":
            work.study.tell(record)
            work.searching -= 1

    def _count(self, work: _CellWork, record: RunRecord) -> None:
        progress = work.progress
        progress.seconds += record.seconds
        if record.kind == "trial":
            progress.trials[record.state] += 1
        else:
            progress.confirmations[record.state] += 1
            work.confirming.discard(record.number)
            work.confirmed[record.number] = record

    def _as_record(self, underway: _Underway, number: int, state: str, report: Report) -> RunRecord:
        wave, best = underway.wave, underway.best[number]
        rate = next(rate for rate in wave.rates if rate.number == number)
        space, recipe = self._space, self._space.recipe
        chosen = {"epoch": best.epoch, "value": best.value, **best.metrics} if best.epoch else {}
        return RunRecord(
            key=self._key(wave.cell, wave.kind, number),
            sweep=space.name,
            dataset=wave.cell.dataset.name,
            backbone=wave.cell.backbone.name,
            freeze=wave.cell.freeze,
            train_fraction=wave.cell.train_fraction,
            kind=wave.kind,
            state=state,
            number=number,
            params={
                "learning_rate": rate.learning_rate,
                "backbone_learning_rate": rate.backbone_learning_rate,
                "image_size": report.facts.get("image_size", space.image_size),
                "epochs": wave.cell.epochs,
                "seed": wave.seed,
                **({"fold": wave.fold} if space.split.folds else {}),
                "objective": space.objective,
                **recipe.model_dump(),
            },
            history=[
                {"epoch": epoch, **item.metrics}
                for epoch, item in sorted(underway.histories[number].items())
                if item.metrics
            ],
            best=chosen,
            test=report.test,
            started=underway.started,
            ended=time.time(),
            seconds=report.seconds / len(wave.rates),
            facts=report.facts,
            predictions=report.predictions,
            model=report.model,
            error=report.error,
            log=report.log,
        )

    def _key(self, cell: Cell, kind: str, number: int) -> str:
        return f"{self._around.sweep_id}:{cell.name}:{kind}:{number}"

    def _forget_checkpoint(self, key: str) -> None:
        self._folder.file("checkpoints", key, ".pt").unlink(missing_ok=True)

    def _recover(
        self, cell: Cell, study: CellStudy, progress: CellProgress, records: list[RunRecord]
    ) -> _CellWork:
        """Take up a cell where the ledger and the records say it was left.

        A trial whose result was written but not told is told now; the others that were begun
        are dealt again in the waves they were in, so that these find their checkpoints.
        """
        work = _CellWork(cell, study, progress)
        ended = {record.number: record for record in records if record.kind == "trial"}
        work.left += len(study.failed() - set(ended))  # forgotten: to be begun anew
        waves: dict[str, list[Rate]] = defaultdict(list)
        for number, record in ended.items():
            if number < study.trials():  # else the ledger was lost, and they are begun again
                study.tell(record)
        for asked in study.unfinished():
            waves[asked.wave].append(asked.rate)
        for key, rates in waves.items():
            work.again.append(Wave(key, "trial", cell, tuple(rates), self._space.split.seed))
            work.searching += len(rates)
        for record in records:
            if record.kind in {"trial", "confirmation"}:
                self._count(work, record)
                progress.epochs += len(record.history)
                progress.best = max(progress.best, record.best.get("value", -math.inf))
        return work


def _share_dealt(work: _CellWork) -> float:
    """Return how much of a cell was dealt: the least served cell comes first."""
    asked = work.cell.trials - work.left - sum(len(wave.rates) for wave in work.again)
    confirming = len(work.confirming) + len(work.confirmed)
    return (asked + confirming) / (work.progress.trials_total + work.progress.seeds)


def _title(wave: Wave) -> str:
    numbers = ", ".join(str(rate.number) for rate in wave.rates)
    return f"{wave.kind}{'s' if len(wave.rates) > 1 else ''} {numbers}"
