"""Operating points: sensitivity and specificity at thresholds that validation has chosen.

Dimensions: N samples, T threshold probabilities.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.comparison.comparison import Row
from sweep.comparison.stats.difference import Interval
from sweep.comparison.stats.intervals import share_interval
from sweep.comparison.stats.sampling import share_estimate
from sweep.records.predictions import Predictions
from sweep.train.thresholds import OPERATING_POINTS, OperatingPoint

_CURVE = np.linspace(0.01, 0.99, 99)  # threshold probabilities of a decision curve


@dataclass(frozen=True)
class OperatingResult:
    """A cell of two classes at an operating point, on the test split.

    Attributes:
        thresholds: the least and the largest that the confirmations' validation splits chose.
    """

    row: Row
    point: OperatingPoint
    sensitivity: Interval
    specificity: Interval
    thresholds: tuple[float, float]


def operating_results(row: Row) -> list[OperatingResult]:
    """Return a cell at each operating point; none if it has several classes, or no thresholds."""
    chosen = [record.facts.get("thresholds") for record in row.cell.confirmations]
    if row.cell.folded or not all(chosen) or not row.cell.has_positive:
        return []
    predictions, found = row.cell.predictions(), []
    for point in OPERATING_POINTS:
        thresholds = [float(item[point.name]) for item in chosen if item]
        called = [
            item.probabilities_NC[:, 1] >= threshold
            for item, threshold in zip(predictions, thresholds, strict=True)
        ]
        sensitivity = _share(row, predictions, called, 1)
        specificity = _share(row, predictions, [~item for item in called], 0)
        ends = min(thresholds), max(thresholds)
        found.append(OperatingResult(row, point, sensitivity, specificity, ends))
    return found


def _share(
    row: Row, predictions: list[Predictions], right: list[NDArray[np.bool_]], label: int
) -> Interval:
    """Return which share of the samples of a class was called rightly."""
    there = predictions[0].labels_N == label
    if not there.any():
        return Interval(math.nan, math.nan, math.nan)
    shared = max((item.shared for item in row.estimates.values()), default=0.0)
    hits_FN = np.stack([item[there] for item in right]).astype(np.float64)
    item = share_estimate(hits_FN, predictions[0].groups_N[there], shared)
    return share_interval(item)


def decision_curve(item: Predictions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return threshold probabilities (T,) and the net benefit (T,) of a prediction.

    The net benefit (Vickers and Elkin 2006) is the share of true positives, less that of false
    ones, each of which costs as much as the threshold's odds say.
    """
    positive_N, scores_N = item.labels_N == 1, item.probabilities_NC[:, 1]
    called_TN = scores_N >= _CURVE[:, None]
    true_T = (called_TN & positive_N).mean(axis=1)
    false_T = (called_TN & ~positive_N).mean(axis=1)
    return _CURVE, true_T - false_T * _CURVE / (1 - _CURVE)


def treat_all(prevalence: float) -> NDArray[np.float64]:
    """Return the net benefit (T,) of calling every sample positive."""
    benefit: NDArray[np.float64] = prevalence - (1 - prevalence) * _CURVE / (1 - _CURVE)
    return benefit
