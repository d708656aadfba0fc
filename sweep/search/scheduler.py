"""The scheduler: which wave of which cell runs next, and what its reports mean.

Knows nothing of Ray: `next_wave` gives a wave, reports come in by `on_report` and `on_complete`.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from sweep.errors import Interrupted, listing
from sweep.records.progress import CellProgress
from sweep.records.record import RunRecord
from sweep.search.cellwork import CellWork
from sweep.search.confirmation import trials_to_confirm
from sweep.search.deadline import Deadline
from sweep.search.dealer import Dealer
from sweep.search.ledger import Ledger
from sweep.search.order import WorkOrder
from sweep.search.repair import repair_study
from sweep.search.running import RunningWave, as_record, describe_wave
from sweep.search.stalls import forget_signs
from sweep.search.studies import CellStudy
from sweep.search.waves import WaveMaker
from sweep.space.model import Cell
from sweep.train.learner import BestEpoch, Trial
from sweep.train.wave import Report, SweepContext, Wave, kept_model

GIVE_UP_AFTER = 3  # consecutive waves of a cell that failed for good

log = logging.getLogger("sweep.search")


class Scheduler:
    """Deals the waves of a sweep and keeps its ledger and records.

    Args:
        changed: called after every change of the progress.
    """

    def __init__(
        self, context: SweepContext, ledger: Ledger, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._context, self._changed = context, changed
        self._folder, self._space = context.folder, context.space
        self._waves = WaveMaker(context.sweep_id, context.space)
        self._deadline = Deadline(context.deadline)
        self._order = WorkOrder(
            context.flops, self._deadline.is_set, context.space.search.warm_start
        )
        self._draining = False
        self._running_waves: dict[str, RunningWave] = {}
        self._work: dict[str, CellWork] = {}
        self._dealer = Dealer(self._waves, context.space, self._work)
        records: dict[str, list[RunRecord]] = defaultdict(list)
        for record in self._folder.records():
            records[record.cell].append(record)
        for cell in self._space.cells():
            progress = CellProgress(cell)
            written, own = ledger.study(cell.name), records[cell.name]
            repair_study(written, cell, self._space, _by_number(own))
            study = CellStudy(written, cell, self._space)
            self._work[cell.name] = self._recover(cell, study, progress, own)

    def __getstate__(self) -> dict[str, object]:
        """Return nothing: Tune pickles its searcher, but the ledger is the truth."""
        return {}

    @property
    def progress(self) -> list[CellProgress]:
        """How far each cell is, in the order of the grid."""
        return [work.progress for work in self._work.values()]

    @property
    def finished(self) -> bool:
        """Tell whether nothing is left to begin or to wait for."""
        return not self._running_waves and not self._ready()

    @property
    def unfinished(self) -> bool:
        """Tell whether something is left for the next time, for whatever reason."""
        return any(work.unfinished for work in self._work.values())

    @property
    def blocked(self) -> dict[str, str]:
        """Why cells are left as they are, though the others have gone on, by the cell's name."""
        return {name: work.blocked for name, work in self._work.items() if work.blocked}

    def refuse_blocked(self) -> None:
        """Raise Interrupted, which names them, if cells were left as they are."""
        if self.blocked:
            reasons = [f"{cell}: {reason}" for cell, reason in self.blocked.items()]
            raise Interrupted(
                f"cells are left as they are:\n{listing(reasons)}\nPut that right; what was done "
                f"is kept; go on with: sweep resume {self._folder.name}"
            )

    def drain(self) -> None:
        """Deal no more; what is under way may end or pause."""
        if not self._draining:
            log.info("stopping: waves under way keep a checkpoint, no more begin")
        self._draining = True

    def next_wave(self) -> Wave | None:
        """Return the next wave, or None if all there is to do is under way."""
        self._end_search_in_time()
        ready = self._ready()
        if not ready:
            return None
        work = min(ready, key=self._order.key)
        build = self._dealer.next_of(work)
        assert build is not None
        wave = build()
        work.waves += 1
        numbers = {trial.number for trial in wave.trials}
        ended = set(work.searched_trials) if wave.kind == "trial" else set()
        running = RunningWave(
            wave,
            self._context.sweep_id,
            time.time(),
            {number: {} for number in numbers},
            {number: BestEpoch(self._space.objective) for number in numbers},
            numbers - ended,
        )
        self._running_waves[wave.key] = running
        work.progress.running += running.results_left
        log.info("%s: %s", wave.cell.name, describe_wave(wave, "begins"))
        self._changed()
        return wave

    def _ready(self) -> list[CellWork]:
        """Return the cells that have a wave to begin now."""
        if self._draining:
            return []
        return [work for work in self._work.values() if self._dealer.next_of(work)]

    def _end_search_in_time(self) -> None:
        """Begin no more trials once there is just enough time left to confirm what is searched."""
        works = [work for work in self._work.values() if work.left]
        running = len(self._running_waves)
        if not works or not self._deadline.is_due(self._work.values(), running, time.time()):
            return
        for work in works:
            log.warning("%s: %d trials are left out, in time to confirm", work.cell.name, work.left)
            work.end_search()
        self._changed()

    def on_report(self, key: str, report: Report) -> tuple[list[int], bool]:
        """Take a report of a wave under way.

        Returns the members to give up, and whether none is left.
        """
        running = self._running_waves.get(key)
        if running is None:
            return [], True
        work = self._work[running.wave.cell.name]
        self._note(running, report)
        pruned: list[int] = []
        if running.wave.kind == "trial" and not report.done:
            pruned = self._prune(running, work, report)
            for number in pruned:
                self._end(running, work, number, "pruned", report)
        if not running.open:
            del self._running_waves[key]
            self._forget_checkpoint(key)
        self._changed()
        return pruned, not running.open

    def on_complete(self, key: str, report: Report) -> None:
        """Take the last report of a wave; a second time does nothing."""
        running = self._running_waves.get(key)
        if running is None:
            return
        if report.paused:
            self.drain()  # a worker may see the stop request before the driver does
            self._pause(self._running_waves.pop(key))
            return
        if report.error:
            self.on_failure(key, report.error, report.retry, report.log, blocked=report.blocked)
            return
        work, wave = self._work[running.wave.cell.name], running.wave
        self._note(running, report)
        if wave.kind == "confirmation":
            self._end_confirmation(running, work, report)
        for number in sorted(running.open):
            history = running.histories[number]
            diverged = any(item.diverged for item in history.values())
            self._end(running, work, number, "diverged" if diverged else "complete", report)
        del self._running_waves[key]
        self._forget_checkpoint(key)
        work.lost_in_a_row = 0
        log.info("%s: %s", wave.cell.name, describe_wave(wave, "ends"))
        self._changed()

    def on_failure(
        self,
        key: str,
        error: str,
        retry: bool = True,
        log_file: str | None = None,
        counts: bool = True,
        blocked: bool = False,
    ) -> None:
        """Take note that a wave died; it runs again, so often as the settings say.

        Args:
            counts: it is one of those times; else the next try is under other conditions.
            blocked: the reason is none of the sweep's own: at last it is left as it is.
        """
        running = self._running_waves.pop(key, None)
        if running is None:
            return
        work, wave = self._work[running.wave.cell.name], running.wave
        work.failures[key] += counts
        if retry and work.failures[key] <= self._context.retries:
            again = f"tried again, {work.failures[key]} of {self._context.retries} times"
            log.warning(
                "%s: %s failed and is %s: %s", wave.cell.name, describe_wave(wave), again, error
            )
            work.progress.running -= running.results_left
            work.progress.retried += 1
            left = tuple(trial for trial in wave.trials if trial.number in running.open)
            work.again.append(replace(wave, trials=wave.trials if work.cell.fused else left))
        elif blocked:
            self._block(running, error)
        else:
            log.error("%s: %s failed: %s", wave.cell.name, describe_wave(wave), error)
            report = Report(error=error, log=log_file)
            if wave.kind == "confirmation":
                self._end_confirmation(running, work, report)
            for number in sorted(running.open):
                self._end(running, work, number, "failed", report)
            self._forget_checkpoint(key)
            work.lost_in_a_row += 1
            if not retry or work.lost_in_a_row >= GIVE_UP_AFTER:
                self._give_up(work)
        self._changed()

    def _give_up(self, work: CellWork) -> None:
        """Deal no more trials of a cell that keeps failing; a resumed sweep tries it again."""
        if work.left:
            log.error("%s: given up, %d trials are not begun", work.cell.name, work.left)
            work.left, work.progress.given_up = 0, True

    def _block(self, running: RunningWave, reason: str) -> None:
        """Leave a wave and its cell as they are, for the next time."""
        cell = running.wave.cell.name
        log.error("%s: nothing more of it is run: %s", cell, reason)
        self._work[cell].blocked = reason
        self._pause(running)

    def _pause(self, running: RunningWave) -> None:
        """Leave a wave as the ledger has it: begun, and not told."""
        work = self._work[running.wave.cell.name]
        work.progress.running -= running.results_left
        work.paused += 1
        log.info("%s: %s", running.wave.cell.name, describe_wave(running.wave, "pauses"))
        self._changed()

    def _note(self, running: RunningWave, report: Report) -> None:
        work = self._work[running.wave.cell.name]
        for text in report.notes:
            log.warning("%s: %s: %s", work.cell.name, describe_wave(running.wave), text)
        report.notes.clear()
        work.progress.images += max(0, report.images - running.images)
        running.images = max(running.images, report.images)
        for item in report.scores:
            history = running.histories.get(item.number)
            if history is None or item.epoch in history:
                continue
            history[item.epoch] = item
            work.progress.epochs += 1
            if not item.diverged and running.best[item.number].offer(item):
                value = running.best[item.number].value
                work.progress.best = max(work.progress.best, value)

    def _prune(self, running: RunningWave, work: CellWork, report: Report) -> list[int]:
        learning = []
        for number in sorted(running.open):
            history = running.histories[number]
            if any(item.diverged for item in history.values()):
                self._end(running, work, number, "diverged", report)
            elif running.best[number].epoch:
                work.study.report(number, report.epoch, running.best[number].value)
                learning.append(number)
        # Better trials first, because a pruner compares a trial with those reported before it.
        learning.sort(key=lambda number: -running.best[number].value)
        return [number for number in learning if work.study.should_prune(number)]

    def _end(
        self, running: RunningWave, work: CellWork, number: int, state: str, report: Report
    ) -> None:
        """End a trial."""
        record = as_record(running, self._space, number, state, report)
        self._folder.write_record(record)  # the record is written before the ledger: see _recover
        running.open.discard(number)
        work.progress.running -= 1
        self._count(work, record)
        work.study.tell(record)
        work.searching -= 1
        if running.wave.cell.repeated:
            self._keep_the_best(work, running.wave)

    def _keep_the_best(self, work: CellWork, wave: Wave) -> None:
        """Of the models of a repeat keep the best until it is confirmed."""
        (best,) = work.choices(wave.index) or (None,)
        for trial in (*wave.trials, *work.study.complete()):
            if best is None or trial.identity != best.identity:
                kept_model(self._folder, wave.cell, wave.index, trial).unlink(missing_ok=True)

    def _end_confirmation(self, running: RunningWave, work: CellWork, report: Report) -> None:
        state = "failed" if report.error else "complete" if report.test else "diverged"
        record = as_record(running, self._space, report.chosen, state, report)
        self._folder.write_record(record)
        running.open.clear()
        work.progress.running -= 1
        self._count(work, record)
        for trial in running.wave.trials if work.cell.repeated else ():
            kept_model(self._folder, work.cell, record.number, trial).unlink(missing_ok=True)

    def _count(self, work: CellWork, record: RunRecord) -> None:
        if record.kind == "trial":
            work.progress.add(record)
            work.searched_trials[record.number] = record
            return
        work.confirming.discard(record.number)
        earlier = work.confirmed.get(record.number)
        if earlier is None or earlier.round <= record.round:
            work.progress.add(record, earlier)
            work.confirmed[record.number] = record

    def _choices(self, work: CellWork, index: int) -> tuple[Trial, ...]:
        trials = work.searched_trials
        return trials_to_confirm(work.cell, self._space, work.study, index, trials, self._folder)

    def _forget_checkpoint(self, key: str) -> None:
        self._folder.file("checkpoints", key, ".pt").unlink(missing_ok=True)
        forget_signs(self._folder, key)

    def _recover(
        self, cell: Cell, study: CellStudy, progress: CellProgress, records: list[RunRecord]
    ) -> CellWork:
        """Take up a cell where the ledger and the records say it was left.

        A trial whose result was written but not told is told now; the others that were begun, or
        whose records are gone, run again in the waves they were in, so that these find their
        checkpoints.
        """
        ended = _by_number(records)
        study.forget(study.failed() - set(ended))  # failed trials are run again
        work = CellWork(cell, study, progress, self._choices)
        progress.beyond = study.beyond()
        waves: dict[str, list[Trial]] = defaultdict(list)
        for record in ended.values():
            study.tell(record)
        for asked in study.without_record(set(ended)):
            waves[asked.wave].append(asked.trial)
        for key, trials in waves.items():
            # In one matrix a member's last digits depend on the other members.
            together = study.of_wave(key) if cell.fused else tuple(trials)
            work.again.append(self._waves.search(cell, key, together))
            work.searching += len(trials)
        for record in records:
            if record.kind in {"trial", "confirmation"}:
                self._count(work, record)
                progress.add_epochs(record)
        return work


def _by_number(records: list[RunRecord]) -> dict[int, RunRecord]:
    return {record.number: record for record in records if record.kind == "trial"}


@contextmanager
def open_scheduler(context: SweepContext, changed: Callable[[], None]) -> Iterator[Scheduler]:
    """Yield the scheduler of a sweep, as its ledger and its records say how far it is.

    Args:
        changed: called after every change.
    """
    own = context.ledger == context.folder.ledger
    aside = context.folder.put_aside if own else None
    with Ledger(context.ledger, context.space.name, context.sweep_id, aside) as ledger:
        yield Scheduler(context, ledger, changed)
