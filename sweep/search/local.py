"""The search in this process alone: one wave after the other, without Ray."""

import os
from collections.abc import Callable

from sweep.records.progress import CellProgress
from sweep.search.scheduler import Scheduler, open_scheduler
from sweep.train.cell import run_wave
from sweep.train.wave import Report, SweepContext, Wave


def search_here(context: SweepContext, watch: Callable[[list[CellProgress]], None]) -> bool:
    """Run every wave of a sweep that its ledger does not hold yet, with all CPUs or a GPU for each.

    Args:
        watch: called with the progress of all cells after every change.

    Returns:
        Whether it came to its end; False if something is left, as after `sweep stop`.
    """
    (context.folder.path / "pulse.json").unlink(missing_ok=True)  # a driver on Ray wrote this file
    with open_scheduler(context, lambda: watch(scheduler.progress)) as scheduler:
        while not context.folder.is_asked_to_stop() and (wave := scheduler.next_wave()):
            _run(context, scheduler, wave)
        scheduler.refuse_blocked()
        return not scheduler.unfinished


def _run(context: SweepContext, scheduler: Scheduler, wave: Wave) -> None:
    def on_report(report: Report) -> list[int] | None:
        pruned, over = scheduler.on_report(wave.key, report)
        if report.done:
            scheduler.on_complete(wave.key, report)
        return None if over else pruned

    run_wave(context, wave, len(os.sched_getaffinity(0)), on_report)
