"""Metrics of how the samples of a class rank among the others by its probability.

Macro-averaged one-vs-rest over the classes that have samples on both sides, as scikit-learn does;
of two classes the second against the first. Of several labels the mean of those of each.
"""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.data.manifest import positives
from sweep.train.metrics.base import (
    ALL_TARGETS,
    Floats,
    Labels,
    Metric,
    WeightedPredictions,
    computed_once,
)


def sided(classes: int, multilabel: bool = False) -> range:
    """Return the classes to rank against the rest: of two, the second is the positive one."""
    return range(1, 2) if classes == 2 and not multilabel else range(classes)


@dataclass(frozen=True, eq=False)
class Ranked:
    """One class against the rest: its samples in ascending order of the scores, shape (K, N).

    Attributes:
        positive, negative: the weight of each sample on its side, else 0.
        first, last: where the run of equal scores around each place begins and ends.
    """

    positive: Floats
    negative: Floats
    first: Labels
    last: Labels


class RankMetric(Metric):
    """A metric of the order of the samples, averaged over the classes."""

    targets = ALL_TARGETS

    @abstractmethod
    def of_ranks(self, ranked: Ranked) -> Floats:
        """Return the metric of one class against the rest for each prediction, (K,)."""

    @abstractmethod
    def influences_of_class(self, positive_N: NDArray[np.bool_], scores_N: Floats) -> Floats:
        """Return the influence of each sample on the metric of one class, at weight 1."""

    def score(self, given: WeightedPredictions) -> Floats:
        """Return the metric of each prediction (K,); NaN if the labels are of one class."""
        of_class = rank(given)
        if not of_class:
            return np.full(len(given.probabilities_KNC), np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.mean([self.of_ranks(ranked) for ranked in of_class], axis=0))

    def influences(self, given: WeightedPredictions) -> Floats:
        """Return those of the classes, averaged; NaN if the labels are of one class."""
        found = [
            self.influences_of_class(positives(given.labels_N, c), given.probabilities_KNC[0, :, c])
            for c in _two_sided(given)
        ]
        if not found:
            return np.full(len(given.labels_N), np.nan)
        return np.asarray(np.sum(found, axis=0) / len(found))


@computed_once
def rank(given: WeightedPredictions) -> list[Ranked]:
    """Rank the samples by each class that has samples on both sides."""
    return [
        _rank(positives(given.labels_N, c), given.probabilities_KNC[:, :, c], given.weights_N)
        for c in _two_sided(given)
    ]


def _two_sided(given: WeightedPredictions) -> list[int]:
    counts = {c: positives(given.labels_N, c).sum() for c in sided(given.classes, given.multilabel)}
    return [c for c, count in counts.items() if 0 < count < len(given.labels_N)]


def _rank(positive_N: NDArray[np.bool_], scores_KN: Floats, weights_N: Floats) -> Ranked:
    order_KN = np.argsort(scores_KN, axis=1, kind="stable")
    positive_KN = (positive_N * weights_N)[order_KN]
    sorted_KN = np.take_along_axis(scores_KN, order_KN, axis=1)
    starts_KN = np.diff(sorted_KN, prepend=-np.inf, axis=1) != 0
    places = np.arange(scores_KN.shape[1])
    first_KN = np.maximum.accumulate(np.where(starts_KN, places, 0), axis=1)
    ends_KN = np.roll(starts_KN, -1, axis=1)  # a run of equal scores ends where the next begins
    backwards = np.where(ends_KN, places, places[-1])[:, ::-1]
    last_KN = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    return Ranked(positive_KN, weights_N[order_KN] - positive_KN, first_KN, last_KN)
