"""The next wave of a cell: one to run again, trials, trials beyond an edge, a confirmation."""

import logging
import math
from collections.abc import Callable, Mapping

from sweep.search.cellwork import CellWork
from sweep.search.warm_start import Params
from sweep.search.waves import WaveMaker
from sweep.space.model import Space
from sweep.train.wave import Wave

log = logging.getLogger("sweep.search")


class Dealer:
    """Makes the next wave of a cell, whenever the scheduler asks for one.

    Args:
        works: of all cells by name, of which a warm start learns.
    """

    def __init__(self, waves: WaveMaker, space: Space, works: Mapping[str, CellWork]) -> None:
        self._waves, self._space, self._works = waves, space, works

    def next_of(self, work: CellWork) -> Callable[[], Wave] | None:
        """Return what makes the cell's next wave, or None if it has to wait or is done."""
        if work.blocked:
            return None
        if work.again:
            return lambda: work.again.pop(0)
        fused = work.cell.fused
        if work.left:
            if fused and work.searching:
                return None  # the second wave needs the first one's results
            size = min(work.left, math.ceil(work.cell.trials / 2) if fused else 1)
            return lambda: self._search(work, size)
        if beyond := work.left_beyond:
            return lambda: self._search_beyond(work, beyond if fused else 1)
        return self._next_confirmation(work) if work.searched else None

    def _next_confirmation(self, work: CellWork) -> Callable[[], Wave] | None:
        indices = work.unconfirmed() - work.confirming
        if not indices:
            return None
        return lambda: self._confirm(work, min(indices))

    def _search(self, work: CellWork, size: int) -> Wave:
        key = self._waves.search_key(work.cell, work.study.trials())
        others = self._best_of_others(work) if self._space.search.warm_start else []
        trials = tuple(work.study.ask(key, others) for _ in range(size))
        work.left -= size
        work.searching += size
        return self._waves.search(work.cell, key, trials)

    def _best_of_others(self, work: CellWork) -> list[Params]:
        """Return the best choices of the finished cells of the same backbone and freeze mode."""
        own = (work.cell.backbone.name, work.cell.freeze)
        alike = [
            one.study.best_params()
            for one in self._works.values()
            if one is not work and one.searched and (one.cell.backbone.name, one.cell.freeze) == own
        ]
        return [params for params in alike if params]

    def _search_beyond(self, work: CellWork, size: int) -> Wave:
        if not work.progress.beyond:
            log.info("%s: the best trial lies at an edge, %d more beyond it", work.cell.name, size)
        key = self._waves.search_key(work.cell, work.study.trials())
        trials = tuple(work.study.ask_beyond(key) for _ in range(size))
        work.progress.beyond += size
        work.searching += size
        return self._waves.search(work.cell, key, trials)

    def _confirm(self, work: CellWork, index: int) -> Wave:
        work.confirming.add(index)
        round_ = 0
        if stale := work.confirmed.pop(index, None):
            work.progress.confirmations[stale.state] -= 1
            round_ = stale.round + 1
        return self._waves.confirmation(work.cell, work.choice(index), index, round_)
