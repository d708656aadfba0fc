"""Metrics of class probabilities, vectorised over predictions of the same samples.

Dimensions: N samples, C classes, K predictions of the same samples (the members of a wave).

The definitions are scikit-learn's: AUROC and AUPRC are macro-averaged one-vs-rest over the
classes that are there; precision, recall and F1 are averaged with the classes' frequencies, or
alike (``_macro``) over the classes that are there or predicted; what has no samples or
predictions counts zero. The Brier score of two classes is the second's. The expected calibration
error (ECE) is that of the predicted class in 15 bins of equal width (Guo et al. 2017).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

CALIBRATION_BINS = 15
LOWER_IS_BETTER = frozenset({"ece", "brier"})


def score(labels_N: Labels, probabilities_NC: Floats) -> dict[str, float]:
    """Return every metric of one prediction; NaN for what one class alone leaves undefined.

    Args:
        labels_N: class indices.
        probabilities_NC: class probabilities.
    """
    values = score_each(labels_N, probabilities_NC[None])
    return {name: float(value_K[0]) for name, value_K in values.items()}


def score_each(labels_N: Labels, probabilities_KNC: Floats) -> dict[str, Floats]:
    """Return every metric of each of K predictions of the same samples: metric -> (K,)."""
    counts = Counts.of(labels_N, probabilities_KNC)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_confusion = {name: metric(counts) for name, metric in OF_CONFUSION.items()}
        of_ranks = _over_classes(labels_N, probabilities_KNC)
    ece_K = np.array([_ece(labels_N, p_NC) for p_NC in probabilities_KNC])
    brier_K = np.array([squared_errors(labels_N, p_NC).mean() for p_NC in probabilities_KNC])
    return {**of_confusion, **of_ranks, "ece": ece_K, "brier": brier_K}


def pool(
    labels_N: Labels, probabilities_KNC: Floats, units_N: Labels | None
) -> tuple[Labels, Floats]:
    """Return the label (U,) and the mean probabilities (K, U, C) of each unit of samples.

    Args:
        units_N: which unit each sample belongs to, from 0; all samples of a unit have one label.
            None leaves everything as it is.
    """
    if units_N is None:
        return labels_N, probabilities_KNC
    labels_U = np.empty(int(units_N.max()) + 1, dtype=labels_N.dtype)
    labels_U[units_N] = labels_N
    sums_UKC = np.zeros((len(labels_U), *probabilities_KNC.shape[::2]))
    np.add.at(sums_UKC, units_N, probabilities_KNC.swapaxes(0, 1))
    means_UKC = sums_UKC / np.bincount(units_N)[:, None, None]
    return labels_U, np.ascontiguousarray(means_UKC.swapaxes(0, 1))


def squared_errors(labels_N: Labels, probabilities_NC: Floats) -> Floats:
    """Return each sample's part of the Brier score, shape (N,)."""
    one_hot_NC = np.eye(probabilities_NC.shape[1])[labels_N]
    errors_N = ((probabilities_NC - one_hot_NC) ** 2).sum(axis=1)
    return np.asarray(errors_N / 2 if probabilities_NC.shape[1] == 2 else errors_N)


def calibration_gaps(labels_N: Labels, probabilities_NC: Floats) -> tuple[Floats, Labels]:
    """Return how far each sample's hit (0 or 1) is above its confidence, and its bin (N,).

    The ECE is the sum over the bins of the absolute sums of these gaps, over N.
    """
    confidence_N = probabilities_NC.max(axis=1)
    hits_N = probabilities_NC.argmax(axis=1) == labels_N
    # Bins are open below, as in Guo et al.: a confidence of 0.2 is in the bin that ends there.
    bins_N = np.clip(np.ceil(confidence_N * CALIBRATION_BINS) - 1, 0, CALIBRATION_BINS - 1)
    return hits_N - confidence_N, bins_N.astype(np.int64)


def sided(classes: int) -> range:
    """Return the classes to rank against the rest: of two, the second is the positive one."""
    return range(1, 2) if classes == 2 else range(classes)


def _ece(labels_N: Labels, probabilities_NC: Floats) -> float:
    gaps_N, bins_N = calibration_gaps(labels_N, probabilities_NC)
    return float(np.abs(np.bincount(bins_N, weights=gaps_N)).sum() / len(labels_N))


@dataclass(frozen=True)
class Counts:
    """The diagonal and the margins of a confusion matrix: all that its metrics need.

    Attributes:
        hits: samples of each class that were predicted as it, shape (..., C).
        true: samples of each class, shape (..., C).
        predicted: samples predicted as each class, shape (..., C).
    """

    hits: Floats
    true: Floats
    predicted: Floats

    @classmethod
    def of(cls, labels_N: Labels, probabilities_KNC: Floats) -> "Counts":
        """Count each of K predictions of the same samples: arrays (K, C)."""
        count, _, classes = probabilities_KNC.shape
        predicted_KN = probabilities_KNC.argmax(axis=2)
        offsets_K1 = np.arange(count)[:, None] * classes

        def counted(classes_KN: Labels, which_KN: NDArray[np.bool_] | None = None) -> Floats:
            places_KN = classes_KN + offsets_K1
            found = places_KN.ravel() if which_KN is None else places_KN[which_KN]
            counts = np.bincount(found, minlength=count * classes)
            return counts.reshape(count, classes).astype(np.float64)

        true_KN = np.broadcast_to(labels_N, predicted_KN.shape)
        hits = counted(true_KN, predicted_KN == labels_N)
        return cls(hits, counted(true_KN), counted(predicted_KN))


def _accuracy(counts: Counts) -> Floats:
    return np.asarray(counts.hits.sum(axis=-1) / counts.true.sum(axis=-1))


def _balanced_accuracy(counts: Counts) -> Floats:
    return _alike(_recalls(counts), counts.true > 0)


def _precision(counts: Counts) -> Floats:
    return _by_frequency(counts, _precisions(counts))


def _recall(counts: Counts) -> Floats:
    return _by_frequency(counts, _recalls(counts))


def _f1(counts: Counts) -> Floats:
    return _by_frequency(counts, _f1s(counts))


def _precision_macro(counts: Counts) -> Floats:
    return _alike(_precisions(counts), _there(counts))


def _recall_macro(counts: Counts) -> Floats:
    return _alike(_recalls(counts), _there(counts))


def _f1_macro(counts: Counts) -> Floats:
    return _alike(_f1s(counts), _there(counts))


def _mcc(counts: Counts) -> Floats:
    """Return Gorodkin's (2004) correlation of true and predicted classes."""
    true, predicted = counts.true, counts.predicted
    total = true.sum(axis=-1)
    covariance = counts.hits.sum(axis=-1) * total - (true * predicted).sum(axis=-1)
    spread_true = total**2 - (true**2).sum(axis=-1)
    spread_predicted = total**2 - (predicted**2).sum(axis=-1)
    return np.asarray(np.nan_to_num(covariance / np.sqrt(spread_true * spread_predicted)))


def _precisions(counts: Counts) -> Floats:
    return np.asarray(np.nan_to_num(counts.hits / counts.predicted))


def _recalls(counts: Counts) -> Floats:
    return np.asarray(np.nan_to_num(counts.hits / counts.true))


def _f1s(counts: Counts) -> Floats:
    return np.asarray(np.nan_to_num(2 * counts.hits / (counts.predicted + counts.true)))


def _there(counts: Counts) -> NDArray[np.bool_]:
    """Tell which classes have a sample or a prediction."""
    return np.asarray((counts.predicted + counts.true) > 0)


def _by_frequency(counts: Counts, values: Floats) -> Floats:
    return np.asarray((counts.true * values).sum(axis=-1) / counts.true.sum(axis=-1))


def _alike(values: Floats, counted: NDArray[np.bool_]) -> Floats:
    return np.asarray(np.where(counted, values, 0).sum(axis=-1) / counted.sum(axis=-1))


@dataclass(frozen=True)
class _Ranked:
    """One class against the rest: its samples in ascending order of the scores, shape (K, N).

    Attributes:
        first, last: where the run of equal scores around each place begins and ends.
    """

    positive: Floats
    negative: Floats
    first: Labels
    last: Labels


def _ranked(positive_N: NDArray[np.bool_], scores_KN: Floats) -> _Ranked:
    order_KN = np.argsort(scores_KN, axis=1, kind="stable")
    positive_KN = positive_N[order_KN].astype(np.float64)
    sorted_KN = np.take_along_axis(scores_KN, order_KN, axis=1)
    starts_KN = np.diff(sorted_KN, prepend=-np.inf, axis=1) != 0
    places = np.arange(scores_KN.shape[1])
    first_KN = np.maximum.accumulate(np.where(starts_KN, places, 0), axis=1)
    ends_KN = np.roll(starts_KN, -1, axis=1)  # a run ends where the next begins
    backwards = np.where(ends_KN, places, places[-1])[:, ::-1]
    last_KN = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    return _Ranked(positive_KN, 1 - positive_KN, first_KN, last_KN)


def _auroc(ranked: _Ranked) -> Floats:
    """Return the chance that a positive scores above a negative, ties counted half (K,)."""
    upto_KN = np.cumsum(ranked.negative, axis=1)
    below_KN = np.take_along_axis(upto_KN - ranked.negative, ranked.first, axis=1)
    pairs_KN = ranked.positive * (below_KN + np.take_along_axis(upto_KN, ranked.last, axis=1)) / 2
    return np.asarray(
        pairs_KN.sum(axis=1) / (ranked.positive.sum(axis=1) * ranked.negative.sum(axis=1))
    )


def _average_precision(ranked: _Ranked) -> Floats:
    """Return the precision at each positive's score, averaged over the positives (K,)."""
    hits_KN = np.cumsum(ranked.positive[:, ::-1], axis=1)[:, ::-1]
    precision_KN = hits_KN / np.arange(hits_KN.shape[1], 0, -1)
    at_KN = np.take_along_axis(precision_KN, ranked.first, axis=1)
    return np.asarray((ranked.positive * at_KN).sum(axis=1) / ranked.positive.sum(axis=1))


def _over_classes(labels_N: Labels, probabilities_KNC: Floats) -> dict[str, Floats]:
    """Average one-vs-rest metrics over the classes that have samples on both sides."""
    of_class = [
        _ranked(labels_N == c, probabilities_KNC[:, :, c])
        for c in sided(probabilities_KNC.shape[2])
        if 0 < (labels_N == c).sum() < len(labels_N)
    ]
    if not of_class:
        lonely_K = np.full(len(probabilities_KNC), np.nan)
        return dict.fromkeys(OF_RANKS, lonely_K)
    return {
        name: np.mean([metric(ranked) for ranked in of_class], axis=0)
        for name, metric in OF_RANKS.items()
    }


# Of counts of classes (..., C), to (...).
OF_CONFUSION: dict[str, Callable[[Counts], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
    "precision_macro": _precision_macro,
    "recall_macro": _recall_macro,
    "f1_macro": _f1_macro,
    "mcc": _mcc,
}
OF_RANKS: dict[str, Callable[[_Ranked], Floats]] = {
    "auroc": _auroc,
    "auprc": _average_precision,
}
