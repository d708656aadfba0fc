"""Intervals of single metrics that never leave their scale and never have no width.

The end of a score-type interval is the value that the observed one is just not too far from, in
standard errors *as they would be at that value* (Wilson 1927). So no end lies beyond 0 or 1, and
a perfect score still has an interval. What is needed is how the standard error depends on the
value: for shares and their like it is that of a proportion; for the AUROC it is Newcombe's (2006,
method 5, after Hanley and McNeil 1982), which he recommends near 1. Both are scaled to the error
that was observed, of the test groups and of the training.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sweep.comparison.stats.difference import LEAST_CONFIRMATIONS, Interval, quantile, satterthwaite
from sweep.comparison.stats.sampling import MetricEstimate, test_variance
from sweep.data.manifest import positives
from sweep.train.metrics import metric_of
from sweep.train.metrics.base import Labels, Metric
from sweep.train.metrics.ranks import RankMetric, sided

_BISECTIONS = 50
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Counts:
    """How much a test split can tell, by class.

    Attributes:
        samples_C, groups_C: of each class, or with each label, that is there.
        classes: in all, whether there or not.
        multilabel: samples may have several labels.
    """

    samples_C: Labels
    groups_C: Labels
    samples: int
    groups: int
    classes: int
    multilabel: bool = False

    @classmethod
    def of(cls, labels_N: Labels, groups_N: Labels, classes: int) -> "Counts":
        """Count the samples and groups of each class."""
        masks = [mask for c in range(classes) if (mask := positives(labels_N, c)).any()]
        samples = [int(mask.sum()) for mask in masks]
        groups = [len(np.unique(groups_N[mask])) for mask in masks]
        several = labels_N.ndim == 2
        sizes = len(labels_N), len(np.unique(groups_N))
        return cls(np.array(samples), np.array(groups), *sizes, classes, several)


def interval(name: str, item: MetricEstimate, counts: Counts) -> Interval:
    """Return the 95 % interval of a metric; its ends are NaN where they are not known.

    With fewer than three confirmations it holds the error of the test groups alone.
    """
    metric, test = metric_of(name), test_variance(item.sums_SG, item.groups_S)
    if not metric.has_variance or math.isnan(item.point) or not math.isfinite(test):
        return Interval(item.point, math.nan, math.nan)
    training, freedom = 0.0, item.freedom
    if item.confirmations >= LEAST_CONFIRMATIONS:
        training = item.training_variance
        freedom = satterthwaite([1.0], [item])
    reach, variance = quantile(freedom), test + training
    if metric.interval == "area":
        return _auroc(item.point, variance, test, reach, counts)
    low, width = metric.low, metric.most(counts.classes, counts.multilabel) - metric.low
    point, own = (item.point - low) / width, variance / width**2
    if metric.interval == "error":
        share = _logit(point, own, reach, counts)
    else:
        share = _share(point, own, reach, *_independent(metric, counts))
    return Interval(item.point, low + width * share.low, low + width * share.high)


def share_interval(item: MetricEstimate) -> Interval:
    """Return the 95 % interval (Wilson) of a share of samples, such as the sensitivity."""
    test = test_variance(item.sums_SG, item.groups_S)
    if not math.isfinite(test):
        return Interval(item.point, math.nan, math.nan)
    training, freedom = 0.0, item.freedom
    if item.confirmations >= LEAST_CONFIRMATIONS:
        training, freedom = item.training_variance, satterthwaite([1.0], [item])
    groups = float(item.groups_S.sum())
    return _share(item.point, test + training, quantile(freedom), groups, at_most=False)


def _independent(metric: Metric, counts: Counts) -> tuple[float, bool]:
    """Return how many observations a metric is worth at its bound, and whether elsewhere too.

    A mean over classes is worth no more than its rarest classes let it, however few errors the
    samples happen to show in these.
    """
    if not metric.mean_over_classes:
        return float(counts.groups), False
    groups_C = counts.groups_C
    if isinstance(metric, RankMetric) and len(sided(counts.classes, counts.multilabel)) == 1:
        groups_C = groups_C[1:]
    return float(len(groups_C) ** 2 / (1 / groups_C).sum()), True


def _share(
    point: float, variance: float, reach: float, independent: float, at_most: bool
) -> Interval:
    """Return Wilson's interval for the number of observations that the variance is worth."""
    inside = min(max(point, 0.0), 1.0)
    own = inside * (1 - inside)
    worth = own / variance if own > _ROUNDING and variance > 0 else independent
    worth = min(worth, independent) if at_most else worth
    square = reach**2
    centre = (inside + square / (2 * worth)) / (1 + square / worth)
    half = reach * math.sqrt(own / worth + square / (4 * worth**2)) / (1 + square / worth)
    return Interval(point, max(0.0, centre - half), min(1.0, centre + half))


def _logit(point: float, variance: float, reach: float, counts: Counts) -> Interval:
    """Return the interval that is symmetric on the logit scale, for mostly small errors."""
    own = point * (1 - point)
    if own <= _ROUNDING or variance <= 0:
        return _share(point, variance, reach, float(counts.groups), at_most=False)
    width = reach * math.sqrt(variance) / own
    place = math.log(point / (1 - point))
    return Interval(point, *(1 / (1 + math.exp(-place + side * width)) for side in (1, -1)))


def _auroc(point: float, variance: float, test: float, reach: float, counts: Counts) -> Interval:
    of_samples = _area_variance(counts.samples_C, counts.samples, counts)
    of_groups = _area_variance(counts.groups_C, counts.groups, counts)
    # Without a single error the correlation of samples within a group cannot be estimated.
    shape, at_point = (of_groups, 0.0) if test == 0 else (of_samples, of_samples(point))
    scale = max(1.0, variance / at_point) if at_point > 0 else 1.0

    def too_far(value: float) -> bool:
        return (value - point) ** 2 > reach**2 * scale * shape(value)

    return Interval(point, _end(point, 0.0, too_far), _end(point, 1.0, too_far))


def _area_variance(sizes_C: Labels, every: int, counts: Counts) -> Callable[[float], float]:
    """Return Newcombe's variance of an AUROC as a function of its value.

    Over several classes that of their mean, as if they erred apart; how far they err together is
    in the observed variance, to which it is scaled.

    Args:
        sizes_C: samples, or groups, of each class or with each label.
        every: how many there are, of whatever labels.
    """
    total = every if counts.multilabel else int(sizes_C.sum())
    one = len(sided(counts.classes, counts.multilabel)) == 1
    sides = [(int(size), max(1, total - int(size))) for size in (sizes_C[1:] if one else sizes_C)]

    def variance(value: float) -> float:
        return float(np.mean([_newcombe(value, *side) for side in sides])) / len(sides)

    return variance


def _newcombe(value: float, positives: int, negatives: int) -> float:
    more = (positives + negatives) / 2 - 1
    ranks = 1 + more * (1 - value) / (2 - value) + more * value / (1 + value)
    return value * (1 - value) * ranks / (positives * negatives)


def _end(point: float, bound: float, too_far: Callable[[float], bool]) -> float:
    """Return the value between a point and a bound from which on all are too far."""
    near, far = point, bound
    if not too_far(far):
        return far
    for _ in range(_BISECTIONS):
        middle = (near + far) / 2
        near, far = (near, middle) if too_far(middle) else (middle, far)
    return (near + far) / 2
