"""The search in this process alone: one wave after the other, without Ray."""

import os
from collections.abc import Callable

from sweep.records.progress import CellProgress
from sweep.search.scheduler import Scheduler, open_scheduler
from sweep.train.cell import WaveRun
from sweep.train.wave import SweepContext


def search_here(context: SweepContext, watch: Callable[[list[CellProgress]], None]) -> bool:
    """Run every wave of a sweep that its ledger does not hold yet, with all CPUs or a GPU for each.

    Args:
        watch: called with the progress of all cells after every change.

    Returns:
        Whether it came to its end; False if something is left, as after `sweep stop`.
    """
    scheduler: Scheduler = open_scheduler(context, lambda: watch(scheduler.progress))
    (context.folder.path / "pulse.json").unlink(missing_ok=True)  # of a driver on Ray
    threads = len(os.sched_getaffinity(0))
    while not context.folder.is_asked_to_stop() and (wave := scheduler.next_wave()):
        run, ended = WaveRun(context, wave, threads), False
        while not ended:
            report = run.step()
            pruned, ended = scheduler.on_report(wave.key, report)
            run.drop(pruned)
            if report.done:
                scheduler.on_complete(wave.key, report)
                ended = True
        del run  # its network, before there is another
    scheduler.refuse_blocked()
    return not scheduler.unfinished
