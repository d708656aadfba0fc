"""Metrics of the confusion matrix: how often each class was predicted, and how often rightly.

Precision, recall and F1 are averaged with the classes' frequencies, or alike (``_macro``) over the
classes that are there or predicted, as scikit-learn does; what has no samples or predictions
counts zero. Of several labels, each of which is predicted where its probability is above a half,
the counts are those of the samples that have it.
"""

from abc import abstractmethod
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sweep.data.multilabel import DECISION_THRESHOLD
from sweep.train.metrics.base import (
    ALL_TARGETS,
    Floats,
    Labels,
    Metric,
    WeightedPredictions,
    computed_once,
)

_STEP = 1e-3  # step of a count for numerical differentiation
_MOST_COUNTS = 1 << 22  # counts held in memory at once


@dataclass(frozen=True, eq=False)
class Counts:
    """The diagonal and the margins of a confusion matrix: all that its metrics need.

    Attributes:
        hits: weight of the samples of each class that were predicted as it, shape (..., C).
        true: of the samples of each class, shape (..., C).
        predicted: of the samples predicted as each class, shape (..., C).
        samples: of several labels, the weight of all samples for each, shape (..., C); else None.
    """

    hits: Floats
    true: Floats
    predicted: Floats
    samples: Floats | None = None

    @property
    def rejected(self) -> Floats:
        """Of several labels, the weight of the samples rightly predicted not to have each."""
        assert self.samples is not None
        return np.asarray(self.samples - self.true - self.predicted + self.hits)


@computed_once
def count(given: WeightedPredictions) -> Counts:
    """Count what each of K predictions of the same samples says: arrays (K, C)."""
    if given.multilabel:
        return _count_labels(given)
    predictions, _, classes = given.probabilities_KNC.shape
    predicted_KN = given.probabilities_KNC.argmax(axis=2)
    offsets_K1 = np.arange(predictions)[:, None] * classes
    weights_KN = np.broadcast_to(given.weights_N, predicted_KN.shape)
    places_KN = predicted_KN + offsets_K1

    def counted(places: Labels, weights: Floats) -> Floats:
        counts = np.bincount(places, weights, minlength=predictions * classes)
        return np.asarray(counts.reshape(predictions, classes), dtype=np.float64)

    is_hit_KN = predicted_KN == given.labels_N
    true_C = np.bincount(given.labels_N, given.weights_N, minlength=classes)
    return Counts(
        counted(places_KN[is_hit_KN], weights_KN[is_hit_KN]),
        np.broadcast_to(true_C, (predictions, classes)),
        counted(places_KN.ravel(), weights_KN.ravel()),
    )


def _count_labels(given: WeightedPredictions) -> Counts:
    weights_N1, has_NC = given.weights_N[:, None], given.labels_N == 1
    predicted_KNC = given.probabilities_KNC > DECISION_THRESHOLD
    hits_KC = ((predicted_KNC & has_NC) * weights_N1).sum(axis=1)
    true_C = (has_NC * weights_N1).sum(axis=0)
    return Counts(
        np.asarray(hits_KC),
        np.broadcast_to(true_C, hits_KC.shape),
        np.asarray((predicted_KNC * weights_N1).sum(axis=1)),
        np.full(hits_KC.shape, given.weights_N.sum()),
    )


class ConfusionMetric(Metric):
    """A metric of the counts of a confusion matrix."""

    targets = ALL_TARGETS

    @abstractmethod
    def of_counts(self, counts: Counts) -> Floats:
        """Return the metric of counts of classes (..., C), to (...)."""

    def score(self, given: WeightedPredictions) -> Floats:
        """Return the metric of each prediction (K,)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.of_counts(count(given))

    def influences(self, given: WeightedPredictions) -> Floats:
        """Differentiate by the counts that have samples."""
        if given.multilabel:
            return self._influences_of_labels(given)
        steps = _steps(given)
        with np.errstate(invalid="ignore", divide="ignore"):
            slopes = [(self.of_counts(up) - self.of_counts(down)) / (2 * _STEP)
                      for up, down in steps.moved]  # fmt: skip
        return np.asarray(np.concatenate(slopes)[steps.of_there_N])

    def _influences_of_labels(self, given: WeightedPredictions) -> Floats:
        """Sum over the labels: a sample moves the counts of each by what it is of it."""
        now, one_hot_CC = count(given), np.eye(given.classes)
        has_NC, predicted_NC = given.labels_N == 1, given.probabilities_KNC[0] > DECISION_THRESHOLD
        found_N = np.zeros(len(has_NC))
        there = (now.hits[:1], now.true[:1], now.predicted[:1], now.samples[:1])  # type: ignore[index]
        for has, predicted in product((False, True), repeat=2):
            step = _STEP * np.array([has and predicted, has, predicted, True])
            moved = [
                Counts(*(c + side * s * one_hot_CC for c, s in zip(there, step, strict=True)))
                for side in (1, -1)
            ]
            with np.errstate(invalid="ignore", divide="ignore"):
                up, down = (self.of_counts(counts) for counts in moved)
            # At the edge of what can be counted a metric has no slope.
            slope_C = np.nan_to_num((up - down) / (2 * _STEP))
            found_N += ((has_NC == has) & (predicted_NC == predicted)) @ slope_C
        return found_N


@dataclass(frozen=True, eq=False)
class _Steps:
    """Counts moved up and down by a step for each (true, predicted) pair that has samples.

    Attributes:
        moved: in parts, arrays (T, C) each.
        of_there_N: which pair each sample is.
    """

    moved: list[tuple[Counts, Counts]]
    of_there_N: Labels


@computed_once
def _steps(given: WeightedPredictions) -> _Steps:
    classes, counts = given.classes, count(given)
    one_hot = np.eye(classes)
    pairs_N = given.labels_N * classes + given.probabilities_KNC[0].argmax(axis=1)
    there_T, of_there_N = np.unique(pairs_N, return_inverse=True)
    moved = []
    for pairs in np.array_split(there_T, -(-len(there_T) * classes // _MOST_COUNTS)):
        true, predicted = np.divmod(pairs, classes)
        by = (one_hot[true] * (true == predicted)[:, None], one_hot[true], one_hot[predicted])
        there = (counts.hits[:1], counts.true[:1], counts.predicted[:1])
        up, down = (
            Counts(*(now + side * _STEP * step for now, step in zip(there, by, strict=True)))
            for side in (1, -1)
        )
        moved.append((up, down))
    return _Steps(moved, of_there_N)


def precisions(counts: Counts) -> Floats:
    """Return the precision of each class, 0 where it was never predicted."""
    return np.asarray(np.nan_to_num(counts.hits / counts.predicted))


def recalls(counts: Counts) -> Floats:
    """Return the recall of each class, 0 where it has no samples."""
    return np.asarray(np.nan_to_num(counts.hits / counts.true))


def f1s(counts: Counts) -> Floats:
    """Return the F1 of each class, 0 where it was never predicted and has no samples."""
    return np.asarray(np.nan_to_num(2 * counts.hits / (counts.predicted + counts.true)))


def by_frequency(counts: Counts, values: Floats) -> Floats:
    """Average over the classes with their frequencies."""
    return np.asarray((counts.true * values).sum(axis=-1) / counts.true.sum(axis=-1))


def macro(counts: Counts, values: Floats) -> Floats:
    """Average alike over the classes that have a sample or a prediction."""
    return mean_over(values, np.asarray((counts.predicted + counts.true) > 0))


def mean_over(values: Floats, counted: NDArray[np.bool_]) -> Floats:
    """Average alike over the classes that are counted."""
    return np.asarray(np.where(counted, values, 0).sum(axis=-1) / counted.sum(axis=-1))
