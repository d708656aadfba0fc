"""Differences between cells of one test split, and what may be said of them.

The test error of a weighted sum of metrics is that of its influences, group by group, so that
cells are paired on the same patients; the training error adds each cell's own. Their sum is
compared with Student's t, its degrees of freedom by Satterthwaite (1946): the training error is
known from a few confirmations only, the test error as if from infinitely many.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

from sweep.comparison.stats.sampling import MetricEstimate, test_variance
from sweep.train.metrics.base import Floats

LEVEL = 0.95
LEAST_CONFIRMATIONS = 3  # a verdict needs this many confirmations of each cell
_ROUNDING = 1e-12  # differences below this count as zero
_NORMAL = 1e9  # from this many degrees of freedom on, Student's t is treated as normal


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval; ends are NaN where it is not known."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A weighted sum of metrics of one test split, such as one cell's less another's.

    Attributes:
        point: the sum.
        test, training: its variances, from the test groups and from the confirmations.
        freedom: Satterthwaite's degrees of freedom.
        grain: variance of one group in each class being placed otherwise. Where two cells agree on
            nearly all patients the others say little of how often they would not; equivalence is
            judged with this added.
        judged: whether there can be a verdict: enough confirmations, of a metric with a variance.
    """

    point: float
    test: float
    training: float
    freedom: float
    grain: float = 0.0
    judged: bool = True

    @property
    def error(self) -> float:
        """The standard error."""
        return math.sqrt(self.test + self.training)

    def below(self, value: float) -> float:
        """Return the confidence, from 0 to 1, that the true value is below `value`."""
        return self._below(value, self.error)

    @property
    def p(self) -> float:
        """The two-sided p-value of the true value being 0."""
        below = self.below(0.0)
        return min(1.0, 2 * min(below, 1 - below))

    def not_worse(self, margin: float) -> float:
        """Return the p-value of the true value being `margin` or more below 0."""
        return self._below(-margin, self._coarse_error)

    def equivalent(self, margin: float) -> float:
        """Return the TOST p-value of it being `margin` or more from 0 (Schuirmann 1987)."""
        return max(self.not_worse(margin), self.flipped().not_worse(margin))

    def flipped(self) -> "Difference":
        """Return the difference the other way round."""
        return replace(self, point=-self.point)

    @property
    def _coarse_error(self) -> float:
        return math.sqrt(self.test + self.training + self.grain)

    def _below(self, value: float, error: float) -> float:
        if not self.judged or math.isnan(self.point) or not math.isfinite(error):
            return 0.5
        distance = value - self.point
        if error == 0:
            return 0.5 if abs(distance) < _ROUNDING else float(distance > 0)
        return float(stdtr(min(self.freedom, _NORMAL), distance / error))

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the interval whose ends have p = 1 - level; NaN if not judged."""
        return self._context(self.error, level)

    def coarse_interval(self, level: float) -> Interval:
        """Return the interval by the error with which equivalence is judged."""
        return self._context(self._coarse_error, level)

    def _context(self, error: float, level: float) -> Interval:
        if not self.judged or not math.isfinite(error):
            return Interval(self.point, math.nan, math.nan)
        reach = quantile(self.freedom, level) * error
        return Interval(self.point, self.point - reach, self.point + reach)


def quantile(freedom: float, level: float = LEVEL) -> float:
    """Return how many standard errors a two-sided interval of Student's t reaches."""
    return float(stdtrit(min(freedom, _NORMAL), (1 + level) / 2))


def can_be_equivalent(grain: float, margin: float) -> bool:
    """Tell whether a margin is wider than what one group in each class weighs."""
    return quantile(math.inf, 2 * LEVEL - 1) * math.sqrt(grain) < margin


def weighted_sum(terms: Sequence[tuple[float, MetricEstimate]]) -> Difference:
    """Return a weighted sum of one metric of cells that were tested on the same samples."""
    weights = np.array([weight for weight, _ in terms])
    items = [item for _, item in terms]
    sums_SG = np.tensordot(weights, np.stack([item.sums_SG for item in items]), axes=1)
    test = test_variance(sums_SG, items[0].groups_S)
    point = float(weights @ [item.point for item in items])
    grain = max(item.grain for item in items)
    enough = all(item.confirmations >= LEAST_CONFIRMATIONS for item in items)
    if enough and not math.isnan(test):
        training = float(sum(w**2 * item.training_variance for w, item in terms))
        return Difference(point, test, training, satterthwaite(weights, items), grain)
    return Difference(point, test, math.nan, math.inf, grain, judged=False)


def average(items: Sequence[Difference]) -> Difference:
    """Return the mean of differences on several test splits, which were drawn apart."""
    count = len(items)
    test = sum(item.test for item in items) / count**2
    parts = [item.training / count**2 for item in items]
    # Each part has its own degrees of freedom; Satterthwaite's formula combines them.
    squares = sum(((item.test + item.training) / count**2) ** 2 / item.freedom for item in items)
    total = test + sum(parts)
    freedom = total**2 / squares if squares > 0 else math.inf
    point = float(np.mean([item.point for item in items]))
    grain = sum(item.grain for item in items) / count**2
    judged = all(item.judged for item in items)
    return Difference(point, test, sum(parts), freedom, grain, judged)


def satterthwaite(weights: Sequence[float] | Floats, items: Sequence[MetricEstimate]) -> float:
    """Return the degrees of freedom of a weighted sum's variance (Satterthwaite 1946)."""
    sums_SG = np.tensordot(np.asarray(weights), np.stack([i.sums_SG for i in items]), axes=1)
    test = test_variance(sums_SG, items[0].groups_S)
    squares = test**2 / items[0].freedom
    total = test
    for weight, item in zip(weights, items, strict=True):
        part = weight**2 * item.training_variance
        squares += part**2 / (item.confirmations - 1)
        total += part
    return float(total**2 / squares) if squares > 0 and math.isfinite(squares) else math.inf
