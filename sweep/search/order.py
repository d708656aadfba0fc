"""Which cell goes next: cheap ones at once, then whatever has the most work left.

The largest remaining work first keeps the long trainings from being the last ones, while most
workers have nothing to do (the rule is that of Graham 1969 for jobs of known length). Cells that
are a small part of all work cannot delay the others: they go first, so that there is an answer for
them at once. What has been searched is confirmed before anything else is begun.

With a warm start, cells that are begun go before others, as only a finished one can be learnt of.
"""

import math
from collections.abc import Mapping

from sweep.search.cellwork import CellWork

_CHEAP = 0.01  # of all work: as much may the cheapest cells have together, to go first


class WorkOrder:
    """The order in which cells get their next wave.

    Args:
        flops: floating-point operations of all of a cell's trials and confirmations, by its name.
            Where they are not known of every cell, all cells advance alike.
        fair: all cells but the cheap ones advance alike, as the search may have to end early.
        warm_start: cells learn of finished ones.
    """

    def __init__(
        self, flops: Mapping[str, float], fair: bool = False, warm_start: bool = False
    ) -> None:
        self._flops, self._fair, self._warm_start = flops, fair, warm_start and not fair
        self._cheap: set[str] = set()
        room = _CHEAP * sum(flops.values())
        for name in sorted(flops, key=flops.__getitem__):
            room -= flops[name]
            if room < 0:
                break
            self._cheap.add(name)

    def key(self, work: CellWork) -> tuple[float, ...]:
        """Return what the cell that goes next has the least of."""
        share, name = work.share_begun(), work.cell.name
        is_new = self._warm_start and not self._goes_on(work)
        if name not in self._flops:
            return (0, 0, is_new, 0, share)
        is_cheap, is_searched = name in self._cheap, work.searched
        left = 0.0 if self._fair else self._flops[name] * (1 - share)
        return (not is_cheap, not is_searched, is_new, -left, share)

    def _goes_on(self, work: CellWork) -> bool:
        """Tell whether a cell is begun, and few enough of its trials run for one more to learn."""
        return work.share_begun() > 0 and work.searching < math.ceil(work.cell.trials / 4)


def known_flops(flops: Mapping[str, float | None]) -> dict[str, float]:
    """Return the work of every cell; nothing if that of one is not known."""
    known = {name: value for name, value in flops.items() if value is not None}
    positive = all(math.isfinite(value) and value > 0 for value in known.values())
    return known if positive and len(known) == len(flops) else {}
