"""Metrics of class probabilities, vectorised over predictions and over resamples.

Dimensions: N samples, C classes, K predictions of the same samples (the members of a wave),
R weightings of the samples (bootstrap resamples).

The definitions are scikit-learn's: AUROC is macro-averaged one-vs-rest; precision, recall and
F1 are averaged with the classes' frequencies; what has no samples or predictions counts zero.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_CHUNK = 1 << 18  # numbers in each temporary array: they stay in the cache of a core


def score(
    labels_N: Labels,
    probabilities_NC: Floats,
    weights_RN: Floats | None = None,
    metrics: tuple[str, ...] | None = None,
) -> dict[str, Floats]:
    """Return each metric of one prediction under each weighting of the samples.

    Args:
        labels_N: class indices.
        probabilities_NC: class probabilities.
        weights_RN: weight of each sample, for a bootstrap how often it was drawn; one row of
            ones by default.
        metrics: names to compute; all by default.

    Returns:
        metric -> values (R,). AUROC and AUPRC are NaN where fewer than two classes have weight.
    """
    weights_RN = np.ones((1, len(labels_N))) if weights_RN is None else weights_RN
    values = _score(labels_N, probabilities_NC[None], weights_RN, metrics)
    return {name: value_RK[:, 0] for name, value_RK in values.items()}


def score_each(labels_N: Labels, probabilities_KNC: Floats) -> dict[str, Floats]:
    """Return every metric of each of K predictions of the same samples: metric -> (K,)."""
    values = _score(labels_N, probabilities_KNC, np.ones((1, len(labels_N))), None)
    return {name: value_RK[0] for name, value_RK in values.items()}


def pooled(
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


def _score(
    labels_N: Labels,
    probabilities_KNC: Floats,
    weights_RN: Floats,
    metrics: tuple[str, ...] | None,
) -> dict[str, Floats]:
    wanted = metrics or (*_OF_CONFUSION, *_OF_RANKS)
    result: dict[str, Floats] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        if any(name in _OF_CONFUSION for name in wanted):
            confusion_RKCC = _confusion(labels_N, probabilities_KNC, weights_RN)
            result = {n: _OF_CONFUSION[n](confusion_RKCC) for n in wanted if n in _OF_CONFUSION}
        if of_ranks := {name: _OF_RANKS[name] for name in wanted if name in _OF_RANKS}:
            result |= _over_classes(of_ranks, labels_N, probabilities_KNC, weights_RN)
    return result


def _confusion(labels_N: Labels, probabilities_KNC: Floats, weights_RN: Floats) -> Floats:
    """Return the weight of each (true, predicted) pair of classes, shape (R, K, C, C)."""
    count, _, classes = probabilities_KNC.shape
    pairs_KN = labels_N * classes + probabilities_KNC.argmax(axis=2)
    one_hot_NKP = pairs_KN.T[:, :, None] == np.arange(classes * classes)
    flat = one_hot_NKP.reshape(len(labels_N), -1).astype(np.float64)
    return np.asarray((weights_RN @ flat).reshape(len(weights_RN), count, classes, classes))


def _accuracy(confusion: Floats) -> Floats:
    return np.asarray(_hits(confusion).sum(axis=-1) / confusion.sum(axis=(-2, -1)))


def _balanced_accuracy(confusion: Floats) -> Floats:
    recall = _hits(confusion) / confusion.sum(axis=-1)  # NaN where a class is absent
    present = ~np.isnan(recall)
    return np.asarray(np.where(present, recall, 0).sum(axis=-1) / present.sum(axis=-1))


def _precision(confusion: Floats) -> Floats:
    return _by_frequency(confusion, _hits(confusion) / confusion.sum(axis=-2))


def _recall(confusion: Floats) -> Floats:
    return _by_frequency(confusion, _hits(confusion) / confusion.sum(axis=-1))


def _f1(confusion: Floats) -> Floats:
    both = confusion.sum(axis=-2) + confusion.sum(axis=-1)
    return _by_frequency(confusion, 2 * _hits(confusion) / both)


def _mcc(confusion: Floats) -> Floats:
    """Return Gorodkin's (2004) correlation of true and predicted classes."""
    true, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    total = true.sum(axis=-1)
    covariance = _hits(confusion).sum(axis=-1) * total - (true * predicted).sum(axis=-1)
    spread_true = total**2 - (true**2).sum(axis=-1)
    spread_predicted = total**2 - (predicted**2).sum(axis=-1)
    return np.asarray(np.nan_to_num(covariance / np.sqrt(spread_true * spread_predicted)))


def _hits(confusion: Floats) -> Floats:
    return np.asarray(np.diagonal(confusion, axis1=-2, axis2=-1))


def _by_frequency(confusion: Floats, values: Floats) -> Floats:
    weights = confusion.sum(axis=-1)
    return np.asarray((weights * np.nan_to_num(values)).sum(axis=-1) / weights.sum(axis=-1))


@dataclass(frozen=True)
class _Ranked:
    """One class against the rest: weights in ascending order of the scores, shape (R, K, N).

    Attributes:
        first, last: where the run of equal scores around each place begins and ends, (K, N);
            None if all scores differ.
    """

    positive: Floats
    negative: Floats
    first: NDArray[np.int64] | None
    last: NDArray[np.int64] | None

    def at_first(self, values: Floats) -> Floats:
        """Return the value at the beginning of each place's run."""
        return values if self.first is None else np.take_along_axis(values, self.first[None], 2)

    def at_last(self, values: Floats) -> Floats:
        """Return the value at the end of each place's run."""
        return values if self.last is None else np.take_along_axis(values, self.last[None], 2)


def _ranked(positive_N: NDArray[np.bool_], scores_KN: Floats, weights_RN: Floats) -> _Ranked:
    order_KN = np.argsort(scores_KN, axis=1, kind="stable")
    weights_RKN = weights_RN[:, order_KN]
    positive_RKN = weights_RKN * positive_N[order_KN]
    negative_RKN = weights_RKN - positive_RKN
    sorted_KN = np.take_along_axis(scores_KN, order_KN, axis=1)
    starts_KN = np.diff(sorted_KN, prepend=-np.inf, axis=1) != 0
    if starts_KN.all():
        return _Ranked(positive_RKN, negative_RKN, None, None)
    places = np.arange(scores_KN.shape[1])
    first_KN = np.maximum.accumulate(np.where(starts_KN, places, 0), axis=1)
    ends_KN = np.roll(starts_KN, -1, axis=1)  # a run ends where the next begins
    backwards = np.where(ends_KN, places, places[-1])[:, ::-1]
    last_KN = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    return _Ranked(positive_RKN, negative_RKN, first_KN, last_KN)


def _auroc(ranked: _Ranked) -> Floats:
    """Return the chance that a positive scores above a negative, ties counted half (R, K)."""
    upto_RKN = np.cumsum(ranked.negative, axis=2)
    below_RKN = ranked.at_first(upto_RKN - ranked.negative)
    area_RK = (ranked.positive * (below_RKN + ranked.at_last(upto_RKN))).sum(axis=2) / 2
    return np.asarray(area_RK / (ranked.positive.sum(axis=2) * ranked.negative.sum(axis=2)))


def _average_precision(ranked: _Ranked) -> Floats:
    """Return the precision at each positive's score, averaged over the positives (R, K)."""
    hits_RKN = np.cumsum(ranked.positive[..., ::-1], axis=2)[..., ::-1]
    misses_RKN = np.cumsum(ranked.negative[..., ::-1], axis=2)[..., ::-1]
    precision_RKN = np.nan_to_num(hits_RKN / (hits_RKN + misses_RKN))
    area_RK = (ranked.positive * ranked.at_first(precision_RKN)).sum(axis=2)
    return np.asarray(area_RK / ranked.positive.sum(axis=2))


def _over_classes(
    metrics: dict[str, Callable[[_Ranked], Floats]],
    labels_N: Labels,
    probabilities_KNC: Floats,
    weights_RN: Floats,
) -> dict[str, Floats]:
    """Average one-vs-rest metrics over the classes that have weight on both sides."""
    count, samples, classes = probabilities_KNC.shape
    sided = range(1, 2) if classes == 2 else range(classes)  # of two, the second is the positive
    chunk = max(1, _CHUNK // max(1, count * samples))
    parts: dict[str, list[Floats]] = {name: [] for name in metrics}
    for start in range(0, len(weights_RN), chunk):
        weights = weights_RN[start : start + chunk]
        of_class = [_ranked(labels_N == c, probabilities_KNC[:, :, c], weights) for c in sided]
        for name, metric in metrics.items():
            values_CRK = np.stack([_unless_lonely(metric, ranked) for ranked in of_class])
            sides_RK = (~np.isnan(values_CRK)).sum(axis=0)
            parts[name].append(np.nansum(values_CRK, axis=0) / sides_RK)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _unless_lonely(metric: Callable[[_Ranked], Floats], ranked: _Ranked) -> Floats:
    lonely_RK = (ranked.positive.sum(axis=2) == 0) | (ranked.negative.sum(axis=2) == 0)
    return np.where(lonely_RK, np.nan, metric(ranked))


_OF_CONFUSION: dict[str, Callable[[Floats], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
    "mcc": _mcc,
}
_OF_RANKS: dict[str, Callable[[_Ranked], Floats]] = {
    "auroc": _auroc,
    "auprc": _average_precision,
}
