"""Verdicts: families of p-values, adjusted by Holm, and the intervals that agree with them.

A verdict about two cells is made once and quoted wherever the two appear. All pairs of a page are
one family: of p-values of no difference, and likewise of equivalence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sweep.comparison.stats.difference import LEVEL, Difference, Interval

ALPHA = 1 - LEVEL

Word = Literal["better", "worse", "equivalent", "unclear", "unjudged"]


@dataclass(frozen=True)
class Verdict:
    """What the data say of a difference in which more is better.

    Attributes:
        gain: the first's metric less the second's, signed so that more is better.
        p, adjusted: of no difference: alone, and by Holm in its family.
        equivalent_p, equivalent: of a difference of the margin or more (TOST), likewise.
    """

    gain: Difference
    p: float
    adjusted: float
    equivalent_p: float
    equivalent: float

    @property
    def word(self) -> Word:
        """Say it in a word."""
        if not self.gain.judged:
            return "unjudged"
        if self.adjusted < ALPHA:
            return "better" if self.gain.point > 0 else "worse"
        return "equivalent" if self.equivalent < ALPHA else "unclear"

    @property
    def interval(self) -> Interval:
        """The interval that agrees with the word, at the level that Holm's adjustment leaves.

        It holds 0 exactly where the adjusted p-value is 5 % or more; that of an equivalence lies
        within the margin.
        """
        if self.word == "equivalent":
            factor = _factor(self.equivalent_p, self.equivalent)
            return self.gain.coarse_interval(1 - 2 * ALPHA / factor)
        return self.gain.interval(1 - ALPHA / _factor(self.p, self.adjusted))

    def flipped(self) -> "Verdict":
        """Return the verdict on the second against the first."""
        return replace(self, gain=self.gain.flipped())


def _factor(p: float, adjusted: float) -> float:
    """Return by how much Holm has multiplied a p-value."""
    return max(1.0, adjusted / p) if p > 0 else 1.0


def verdicts(gains: Sequence[Difference], margin: float) -> list[Verdict]:
    """Return the verdicts on a family of differences."""
    values = [gain.p for gain in gains]
    alike = [gain.equivalent(margin) for gain in gains]
    columns = zip(gains, values, holm(values), alike, holm(alike), strict=True)
    return [Verdict(*items) for items in columns]


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being a family (Holm 1979).

    statsmodels' `multipletests` gives the same, and collects garbage at every call, which took a
    third of the time of a large report.
    """
    order = np.argsort(values)
    factors = np.arange(len(values), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(factors * np.take(values, order)), 1)
    result = np.empty(len(values))
    result[order] = adjusted
    return [float(value) for value in result]
