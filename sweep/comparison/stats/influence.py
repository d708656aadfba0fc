"""How much each test sample moves each metric: the influence functions behind every variance.

The influence of a sample is the derivative of the metric with respect to the sample's weight
(Hampel 1974). Their sums over groups give the variance of sampling the groups by the
infinitesimal jackknife (Efron 1982), which for the AUROC is DeLong's (1988), clustered as
Obuchowski (1997) does: see `sampling.py`.

Dimensions: N samples, C classes, K metrics.
"""

import numpy as np
from numpy.typing import NDArray

from sweep.train.metrics import OF_CONFUSION, Counts, Floats, Labels, sided, squared_errors

# A calibration error is biased upwards by its very noise, so that it has no such variance.
WITHOUT_VARIANCE = frozenset({"ece"})

_STEP = 1e-3  # of a count, to differentiate by
_MOST_COUNTS = 1 << 22  # at once


def influences(labels_N: Labels, probabilities_NC: Floats) -> dict[str, Floats]:
    """Return the influence of each sample on each metric of `train.metrics`: metric -> (N,).

    Influences of a metric sum to zero. Those of ranks are NaN if the labels are of one class.

    Args:
        labels_N: class indices.
        probabilities_NC: class probabilities.
    """
    squared_N = squared_errors(labels_N, probabilities_NC)
    auroc_N, auprc_N = rank_influences(labels_N, probabilities_NC)
    return {
        **_of_confusion(labels_N, probabilities_NC),
        "auroc": auroc_N,
        "auprc": auprc_N,
        "brier": (squared_N - squared_N.mean()) / len(labels_N),
    }


def _of_confusion(labels_N: Labels, probabilities_NC: Floats) -> dict[str, Floats]:
    """Differentiate the metrics of the confusion matrix by the counts that have samples."""
    classes = probabilities_NC.shape[1]
    counts = Counts.of(labels_N, probabilities_NC[None])
    pairs_N = labels_N * classes + probabilities_NC.argmax(axis=1)
    there_T, of_there_N = np.unique(pairs_N, return_inverse=True)
    parts = np.array_split(there_T, -(-len(there_T) * classes // _MOST_COUNTS))
    slopes = [_slopes(counts, part, classes) for part in parts]
    return {
        name: np.concatenate([slope[name] for slope in slopes])[of_there_N] for name in OF_CONFUSION
    }


def _slopes(counts: Counts, pairs_T: Labels, classes: int) -> dict[str, Floats]:
    """Return how each metric changes with the weight of (true, predicted) pairs: metric -> (T,)."""
    one_hot = np.eye(classes)
    true_T, predicted_T = np.divmod(pairs_T, classes)
    hit_T1 = (true_T == predicted_T)[:, None]
    steps = (one_hot[true_T] * hit_T1, one_hot[true_T], one_hot[predicted_T])

    def moved(by: float) -> dict[str, Floats]:
        there = (counts.hits, counts.true, counts.predicted)
        changed = Counts(*(now + by * step for now, step in zip(there, steps, strict=True)))
        with np.errstate(invalid="ignore", divide="ignore"):
            return {name: metric(changed) for name, metric in OF_CONFUSION.items()}

    up, down = moved(_STEP), moved(-_STEP)
    return {name: np.asarray((up[name] - down[name]) / (2 * _STEP)) for name in OF_CONFUSION}


def rank_influences(labels_N: Labels, probabilities_NC: Floats) -> tuple[Floats, Floats]:
    """Return the influences on AUROC and AUPRC, averaged over the classes with both sides."""
    auroc_N, auprc_N = np.zeros((2, len(labels_N)))
    counted = 0
    for c in sided(probabilities_NC.shape[1]):
        if 0 < (labels_N == c).sum() < len(labels_N):
            auroc_N += _auroc(labels_N == c, probabilities_NC[:, c])
            auprc_N += _auprc(labels_N == c, probabilities_NC[:, c])
            counted += 1
    if not counted:
        nowhere_N = np.full(len(labels_N), np.nan)
        return nowhere_N, nowhere_N
    return auroc_N / counted, auprc_N / counted


def _auroc(positive_N: NDArray[np.bool_], scores_N: Floats) -> Floats:
    """Return each sample's placement, the share of the other side that it beats, less the AUROC,
    over the number of its side.

    By the midranks of Sun and Xu (2014).
    """
    placements_N = np.empty(len(scores_N))
    ranks_N = midranks(scores_N)
    positives, negatives = int(positive_N.sum()), int((~positive_N).sum())
    own_P, own_M = midranks(scores_N[positive_N]), midranks(scores_N[~positive_N])
    placements_N[positive_N] = (ranks_N[positive_N] - own_P) / negatives
    placements_N[~positive_N] = 1 - (ranks_N[~positive_N] - own_M) / positives
    area = placements_N[positive_N].mean()
    return np.asarray((placements_N - area) / np.where(positive_N, positives, negatives))


def _auprc(positive_N: NDArray[np.bool_], scores_N: Floats) -> Floats:
    """Differentiate the average precision, the mean over the positives of the precision at each.

    A positive adds its own precision and raises that of all positives at or below it; a negative
    lowers those.
    """
    _, run_N = np.unique(scores_N, return_inverse=True)
    runs = int(run_N.max()) + 1
    hits_R = np.bincount(run_N, weights=positive_N, minlength=runs)
    every_R = np.bincount(run_N, minlength=runs).astype(np.float64)
    above_hits_R, above_R = (np.cumsum(item[::-1])[::-1] for item in (hits_R, every_R))
    precision_R = above_hits_R / above_R
    positives = hits_R.sum()
    average = float((hits_R * precision_R).sum() / positives)
    # Sums over the positives whose score is that of a run or lower.
    raised_R = np.cumsum(hits_R * (above_R - above_hits_R) / above_R**2)
    lowered_R = np.cumsum(hits_R * above_hits_R / above_R**2)
    of_positive_N = precision_R[run_N] - average + raised_R[run_N]
    return np.asarray(np.where(positive_N, of_positive_N, -lowered_R[run_N]) / positives)


def midranks(values_N: Floats) -> Floats:
    """Return ranks from 1, of equal values the mean; scipy.stats alone takes a second to import."""
    _, run_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[run_N])
