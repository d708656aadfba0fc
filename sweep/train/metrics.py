"""Metrics of class probabilities, weighted and vectorised over resamples.

Dimensions: N samples, C classes, R weightings (bootstrap resamples), G distinct scores.

The definitions are scikit-learn's: AUROC is macro-averaged one-vs-rest; precision, recall and
F1 are averaged with the classes' frequencies; what has no samples or predictions counts zero.
"""

from collections.abc import Callable

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
    """Return each metric under each weighting of the samples.

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
    wanted = metrics or (*_OF_CONFUSION, *_OF_RANKS)
    result: dict[str, Floats] = {}
    if any(name in _OF_CONFUSION for name in wanted):
        confusion_RCC = confusion(labels_N, probabilities_NC, weights_RN)
        with np.errstate(invalid="ignore", divide="ignore"):
            for name in wanted:
                if name in _OF_CONFUSION:
                    result[name] = _OF_CONFUSION[name](confusion_RCC)
    for name in wanted:
        if name in _OF_RANKS:
            result[name] = _over_classes(_OF_RANKS[name], labels_N, probabilities_NC, weights_RN)
    return result


def confusion(labels_N: Labels, probabilities_NC: Floats, weights_RN: Floats) -> Floats:
    """Return the weight of each (true, predicted) pair of classes, shape (R, C, C)."""
    classes = probabilities_NC.shape[1]
    pairs_N = labels_N * classes + probabilities_NC.argmax(axis=1)
    one_hot_NP = np.zeros((len(labels_N), classes * classes))
    one_hot_NP[np.arange(len(labels_N)), pairs_N] = 1
    result: Floats = (weights_RN @ one_hot_NP).reshape(-1, classes, classes)
    return result


def _accuracy(confusion_RCC: Floats) -> Floats:
    return np.asarray(_hits(confusion_RCC).sum(axis=1) / confusion_RCC.sum(axis=(1, 2)))


def _balanced_accuracy(confusion_RCC: Floats) -> Floats:
    recall_RC = _hits(confusion_RCC) / confusion_RCC.sum(axis=2)  # NaN where a class is absent
    present_RC = ~np.isnan(recall_RC)
    return np.asarray(np.where(present_RC, recall_RC, 0).sum(axis=1) / present_RC.sum(axis=1))


def _precision(confusion_RCC: Floats) -> Floats:
    precision_RC = _hits(confusion_RCC) / confusion_RCC.sum(axis=1)
    return _by_frequency(confusion_RCC, precision_RC)


def _recall(confusion_RCC: Floats) -> Floats:
    return _by_frequency(confusion_RCC, _hits(confusion_RCC) / confusion_RCC.sum(axis=2))


def _f1(confusion_RCC: Floats) -> Floats:
    both_RC = confusion_RCC.sum(axis=1) + confusion_RCC.sum(axis=2)
    return _by_frequency(confusion_RCC, 2 * _hits(confusion_RCC) / both_RC)


def _mcc(confusion_RCC: Floats) -> Floats:
    """Return Gorodkin's (2004) correlation of true and predicted classes."""
    true_RC, predicted_RC = confusion_RCC.sum(axis=2), confusion_RCC.sum(axis=1)
    total_R = true_RC.sum(axis=1)
    covariance_R = _hits(confusion_RCC).sum(axis=1) * total_R - (true_RC * predicted_RC).sum(axis=1)
    true_R = total_R**2 - (true_RC**2).sum(axis=1)
    predicted_R = total_R**2 - (predicted_RC**2).sum(axis=1)
    return np.asarray(np.nan_to_num(covariance_R / np.sqrt(true_R * predicted_R)))


def _hits(confusion_RCC: Floats) -> Floats:
    return np.asarray(np.diagonal(confusion_RCC, axis1=1, axis2=2))


def _by_frequency(confusion_RCC: Floats, value_RC: Floats) -> Floats:
    weight_RC = confusion_RCC.sum(axis=2)
    return np.asarray((weight_RC * np.nan_to_num(value_RC)).sum(axis=1) / weight_RC.sum(axis=1))


def _auroc(positive_RG: Floats, negative_RG: Floats) -> Floats:
    """Return the chance that a positive scores above a negative, ties counted half (R,)."""
    below_RG = np.cumsum(negative_RG, axis=1) - negative_RG / 2
    area_R = (positive_RG * below_RG).sum(axis=1)
    return np.asarray(area_R / (positive_RG.sum(axis=1) * negative_RG.sum(axis=1)))


def _average_precision(positive_RG: Floats, negative_RG: Floats) -> Floats:
    hits_RG = np.cumsum(positive_RG[:, ::-1], axis=1)
    called_RG = hits_RG + np.cumsum(negative_RG[:, ::-1], axis=1)
    precision_RG = np.nan_to_num(hits_RG / called_RG)
    area_R = (positive_RG[:, ::-1] * precision_RG).sum(axis=1)
    return np.asarray(area_R / positive_RG.sum(axis=1))


def _over_classes(
    metric: Callable[[Floats, Floats], Floats],
    labels_N: Labels,
    probabilities_NC: Floats,
    weights_RN: Floats,
) -> Floats:
    """Average a one-vs-rest metric over the classes that have weight on both sides."""
    classes = probabilities_NC.shape[1]
    sided = range(1, 2) if classes == 2 else range(classes)  # of two, the second is the positive
    chunk = max(1, _CHUNK // max(1, len(labels_N)))
    chunks = [
        np.stack(
            [_one_vs_rest(metric, labels_N == c, probabilities_NC[:, c], weights) for c in sided]
        )
        for weights in np.split(weights_RN, range(chunk, len(weights_RN), chunk))
    ]
    values_CR = np.concatenate(chunks, axis=1)
    count_R = (~np.isnan(values_CR)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(values_CR, axis=0) / count_R)


def _one_vs_rest(
    metric: Callable[[Floats, Floats], Floats],
    positive_N: NDArray[np.bool_],
    scores_N: Floats,
    weights_RN: Floats,
) -> Floats:
    order_N = np.argsort(scores_N, kind="stable")
    starts_G = np.flatnonzero(np.diff(scores_N[order_N], prepend=-np.inf))
    sorted_RN = weights_RN[:, order_N]
    positive_RG = sorted_RN * positive_N[order_N]
    negative_RG = sorted_RN - positive_RG
    if len(starts_G) < len(order_N):  # equal scores count as one
        positive_RG = np.add.reduceat(positive_RG, starts_G, axis=1)
        negative_RG = np.add.reduceat(negative_RG, starts_G, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        value_R = metric(positive_RG, negative_RG)
    lonely_R = (positive_RG.sum(axis=1) == 0) | (negative_RG.sum(axis=1) == 0)
    return np.where(lonely_R, np.nan, value_R)


_OF_CONFUSION: dict[str, Callable[[Floats], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
    "mcc": _mcc,
}
_OF_RANKS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "auroc": _auroc,
    "auprc": _average_precision,
}
