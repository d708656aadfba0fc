"""Subgroups: whether the models of a cell do alike for the values of a column, such as sex.

The metric of each value has its interval; the difference of any two values of a column is tested,
and all such tests of a page are one family. Values with few patients of a class are named and not
compared.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sweep.comparison.comparison import Comparison, Row
from sweep.comparison.stats.across_samples import difference_across
from sweep.comparison.stats.difference import Difference, Interval
from sweep.comparison.stats.intervals import Counts, interval
from sweep.comparison.stats.sampling import MetricEstimate, groups_by_class, sampled_metric
from sweep.comparison.stats.verdict import ALPHA, Verdict, verdicts
from sweep.comparison.text import both_p, format_signed, title
from sweep.records.predictions import Predictions
from sweep.train.metrics import metric_of
from sweep.train.metrics.base import Floats, WeightedPredictions

LEAST_GROUPS = 5  # patients of each class, for a value to be compared


@dataclass(frozen=True, eq=False)
class Subgroup:
    """The test samples with one value of a column.

    Attributes:
        values: the metric of each confirmation; NaN of a fold that has too few of the samples.
        estimate: None if there are too few patients of a class.
    """

    value: str
    counts: Counts
    values: tuple[float, ...]
    estimate: MetricEstimate | None
    metric: str

    @cached_property
    def interval(self) -> Interval | None:
        """The metric with its interval."""
        if self.estimate is None:
            return None
        return interval(self.metric, self.estimate, self.counts)


@dataclass(frozen=True, eq=False)
class Gap:
    """The difference between two subgroups, and whether it is beyond chance."""

    first: Subgroup
    second: Subgroup
    verdict: Verdict

    @property
    def significant(self) -> bool:
        """Whether the two differ, adjusted for all tests of the page."""
        return self.verdict.gain.judged and self.verdict.adjusted < ALPHA


@dataclass(frozen=True, eq=False)
class SubgroupResult:
    """A cell by the values of one column.

    Attributes:
        unknown: samples whose value is not known.
        gap: the largest difference between two values; None if fewer than two can be compared.
    """

    row: Row
    column: str
    subgroups: list[Subgroup]
    unknown: int
    gap: Gap | None


def subgroup_results(comparison: Comparison) -> dict[str, list[SubgroupResult]]:
    """Return, by data set, every cell by every column of its subgroups."""
    metric = comparison.choices.metric
    cut = [
        (row, column, *_subgroups(row, column, metric))
        for rows in comparison.datasets.values()
        for row in rows
        for column in row.cell.subgroups
    ]
    couples = [
        [
            (one, other, gap)
            for one, other in combinations(own, 2)
            if (gap := gap_between(one, other))
        ]
        for _, _, own, _ in cut
    ]
    # A gap is one of the metric itself: it has no better side.
    differences = [gap for own in couples for _, _, gap in own]
    judged = iter(verdicts(differences, comparison.choices.margin))
    found: dict[str, list[SubgroupResult]] = {}
    for (row, column, subgroups, unknown), own in zip(cut, couples, strict=True):
        gaps = [Gap(first, second, next(judged)) for first, second, _ in own]
        largest = max(gaps, key=lambda gap: abs(gap.verdict.gain.point), default=None)
        result = SubgroupResult(row, column, subgroups, unknown, largest)
        found.setdefault(row.cell.dataset, []).append(result)
    return found


def _subgroups(row: Row, column: str, metric: str) -> tuple[list[Subgroup], int]:
    values_N = np.asarray(row.cell.subgroups[column], dtype=object)
    shared = row.estimates[metric].shared
    by_fold = row.cell.predictions_by_fold()
    found = split_by(values_N, row.cell.predictions(), metric, shared, by_fold)
    return found, int((values_N == "").sum())


def split_by(
    values_N: NDArray[np.object_],
    predictions: list[Predictions],
    metric: str,
    shared: float = 0.0,
    by_fold: list[Predictions] | None = None,
) -> list[Subgroup]:
    """Return the subgroups of the samples that predictions are of.

    Args:
        values_N: of each sample; '' where it is not known.
        predictions: of each confirmation; those of folds pooled.
        shared, by_fold: see `sweep.comparison.stats.sampling.estimate`.
    """
    found = []
    for value in sorted(set(values_N) - {""}, key=_order):
        own = [item.of_samples(values_N == value) for item in predictions]
        first, classes = own[0], own[0].probabilities_NC.shape[1]
        counts = Counts.of(first.labels_N, first.groups_N, classes)
        scores, influences = zip(*(_scored(item, metric) for item in own), strict=True)
        of_each = _of_folds(values_N == value, by_fold, metric) if by_fold else scores
        groups_C, item = groups_by_class(first), None
        if len(groups_C) == classes and groups_C.min() >= LEAST_GROUPS:
            known = [score for score in of_each if not math.isnan(score)]
            item = sampled_metric(metric, first, list(scores), list(influences), known, shared)
        found.append(Subgroup(str(value), counts, of_each, item, metric))
    return found


def _of_folds(
    mask_N: NDArray[np.bool_], by_fold: list[Predictions], metric: str
) -> tuple[float, ...]:
    """Return the metric on some samples of each fold; NaN of a fold that lacks a class of them."""
    ends = np.cumsum([len(fold.labels_N) for fold in by_fold])
    parts = zip(by_fold, np.split(mask_N, ends[:-1]), strict=True)
    classes = by_fold[0].probabilities_NC.shape[1]
    own = [fold.of_samples(mask) for fold, mask in parts]
    is_whole = [len(item.labels_N) > 0 and len(groups_by_class(item)) == classes for item in own]
    return tuple(
        _scored(item, metric)[0] if whole else math.nan
        for item, whole in zip(own, is_whole, strict=True)
    )


def gap_between(first: Subgroup, second: Subgroup) -> Difference | None:
    """Return the metric of one subgroup less that of another; None if one is too small."""
    if first.estimate is None or second.estimate is None:
        return None
    pairs = zip(first.values, second.values, strict=True)
    values = [pair for pair in pairs if not any(map(math.isnan, pair))]
    return difference_across(first.estimate, second.estimate, values, same_groups=True)


def _scored(item: Predictions, metric: str) -> tuple[float, Floats]:
    given = WeightedPredictions.of_weight_1(item.labels_N, item.probabilities_NC[None])
    own = metric_of(metric)
    return float(own.score(given)[0]), own.influences(given)


def _order(value: str) -> tuple[int, float, str]:
    """Sort bands by their numbers, and '2' before '10'."""
    for word in value.split():
        try:
            return (0, float(word) - value.startswith("<"), value)
        except ValueError:
            continue
    return (1, 0.0, value)


def subgroup_sentences(comparison: Comparison) -> list[str]:
    """Say of the best cell of each data set whether its subgroups differ."""
    lines = []
    for dataset, results in subgroup_results(comparison).items():
        best = comparison.datasets[dataset][0]
        for result in (item for item in results if item.row is best):
            gap = result.gap
            if gap is None:
                lines.append(
                    f"{dataset}: too few patients of each class for a comparison by {result.column}"
                )
                continue
            verdict = gap.verdict
            if not verdict.gain.judged:
                continue
            what = f"{title(comparison.choices.metric)} {format_signed(verdict.interval)}"
            pair = f"{result.column} {gap.first.value} and {gap.second.value}"
            word = "differ" if gap.significant else "cannot be told apart"
            lines.append(f"{dataset}, {best.label}: {pair} {word}: {what}, {both_p(verdict)}")
    return [f"{line}." for line in lines]
