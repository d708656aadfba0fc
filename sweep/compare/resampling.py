"""The paired bootstrap over groups: every cell of a test split is scored in the same resamples.

Dimensions: N samples, C classes, R weightings of the samples (resamples, and with one block of
groups left out each), G groups.

A resample draws as many groups (patients) as there are, with replacement, and takes all samples
of each, as the samples of a group are not independent (Efron 1979; Field and Welsh 2007). A
weighting says how often each sample is in. Metrics of weighted samples cost one pass each: those
of the confusion matrix, calibration and Brier are products with the weights; ranks are walked
from the highest score down, all resamples at once.
"""

import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sweep.compare.estimates import Bootstrapped
from sweep.compare.results import Predictions
from sweep.train.metrics import (
    CALIBRATION_BINS,
    OF_CONFUSION,
    Floats,
    Labels,
    calibration_gaps,
    score,
    sided,
    squared_errors,
)

RESAMPLES = 5000

_SEED = 20240212
_NUMBERS_AT_ONCE = 1 << 23  # weights held at once: 64 MiB
BLOCKS = 1000  # of groups, left out in turn; more would not change an acceleration visibly


def estimated(
    cells: list[list[Predictions]], name: str, resamples: int = RESAMPLES
) -> list[dict[str, Bootstrapped]]:
    """Return the metrics of cells of one test split, with their resamples.

    Args:
        cells: of each cell the predictions of each seed, all on the same samples in the same
            order. A cell's value is the mean over its seeds.
        name: of the dataset; other names give other draws, the same name always the same.
    """
    groups_N = cells[0][0].groups_N
    rng = np.random.default_rng([_SEED, zlib.crc32(name.encode())])
    parts: list[list[dict[str, Floats]]] = [[] for _ in cells]
    for weights_NR in _weightings(groups_N, resamples, rng):
        for part, cell in zip(parts, cells, strict=True):
            part.append(_mean([weighted_scores(p, weights_NR) for p in cell]))
    return [_as_estimates(cell, part, resamples) for cell, part in zip(cells, parts, strict=True)]


def weighted_scores(predictions: Predictions, weights_NR: Floats) -> dict[str, Floats]:
    """Return every metric of `train.metrics` under each weighting: metric -> (R,).

    What a weighting leaves without a meaning (ranks of one class alone) is NaN there.
    """
    labels_N, probabilities_NC = predictions.labels_N, predictions.probabilities_NC
    linear = _linear_scores(labels_N, probabilities_NC, weights_NR)
    auroc_CR, auprc_CR = zip(
        *(
            _walk(labels_N == c, probabilities_NC[:, c], weights_NR)
            for c in sided(probabilities_NC.shape[1])
        ),
        strict=True,
    )
    return {**linear, "auroc": _over_classes(auroc_CR), "auprc": _over_classes(auprc_CR)}


def draw_weights(groups_N: Labels, resamples: int, rng: np.random.Generator) -> Floats:
    """Return how often each sample is in each resample, shape (N, R)."""
    count = int(groups_N.max()) + 1
    drawn_RG = rng.integers(0, count, (resamples, count))
    counts_GR = np.empty((count, resamples))
    for column, drawn_G in enumerate(drawn_RG):
        counts_GR[:, column] = np.bincount(drawn_G, minlength=count)
    return np.asarray(counts_GR[groups_N])


def _weightings(groups_N: Labels, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield the resamples, then the weightings with one block of groups left out each."""
    columns = max(1, _NUMBERS_AT_ONCE // len(groups_N))
    for start in range(0, resamples, columns):
        yield draw_weights(groups_N, min(columns, resamples - start), rng)
    blocks_N = _blocks(groups_N, rng)
    count = int(blocks_N.max()) + 1
    for start in range(0, count, columns):
        left_out = np.arange(start, min(start + columns, count))
        yield (blocks_N[:, None] != left_out).astype(np.float64)


def _blocks(groups_N: Labels, rng: np.random.Generator) -> Labels:
    """Return which of at most so many blocks of groups each sample is in."""
    count = int(groups_N.max()) + 1
    if count <= BLOCKS:
        return groups_N
    block_G = rng.permutation(np.arange(count) % BLOCKS)
    return np.asarray(block_G[groups_N])


def _mean(seeds: list[dict[str, Floats]]) -> dict[str, Floats]:
    return {name: np.mean([values[name] for values in seeds], axis=0) for name in seeds[0]}


def _as_estimates(
    cell: list[Predictions], parts: list[dict[str, Floats]], resamples: int
) -> dict[str, Bootstrapped]:
    points = [score(p.labels_N, p.probabilities_NC) for p in cell]
    result = {}
    for name in parts[0]:
        values_R = np.concatenate([part[name] for part in parts])
        point = float(np.mean([values[name] for values in points]))
        estimate = Bootstrapped(point, values_R[:resamples], _influences(values_R[resamples:]))
        result[name] = estimate.centred() if name == "ece" else estimate
    return result


def _influences(left_out_J: Floats) -> Floats:
    """Return what each block of groups adds, from the values without it; 0 if undefined."""
    if np.isnan(left_out_J).all():
        return np.zeros_like(left_out_J)
    return np.nan_to_num(np.nanmean(left_out_J) - left_out_J)


def _linear_scores(
    labels_N: Labels, probabilities_NC: Floats, weights_NR: Floats
) -> dict[str, Floats]:
    """Return the metrics that are functions of weighted sums over the samples."""
    count, classes = probabilities_NC.shape
    pairs_N = labels_N * classes + probabilities_NC.argmax(axis=1)
    gaps_N, bins_N = calibration_gaps(labels_N, probabilities_NC)
    cells = classes * classes
    terms_NT = np.zeros((count, cells + CALIBRATION_BINS + 1))
    rows = np.arange(count)
    terms_NT[rows, pairs_N] = 1
    terms_NT[rows, cells + bins_N] = gaps_N
    terms_NT[:, -1] = squared_errors(labels_N, probabilities_NC)
    sums_RT = (terms_NT.T @ weights_NR).T
    total_R = weights_NR.sum(axis=0)
    confusion_RCC = sums_RT[:, :cells].reshape(-1, classes, classes)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = {name: metric(confusion_RCC) for name, metric in OF_CONFUSION.items()}
        scores["ece"] = np.abs(sums_RT[:, cells:-1]).sum(axis=1) / total_R
        scores["brier"] = sums_RT[:, -1] / total_R
    return scores


def _walk(
    positive_N: NDArray[np.bool_], scores_N: Floats, weights_NR: Floats
) -> tuple[Floats, Floats]:
    """Return AUROC and average precision of one class against the rest, shape (R,) each.

    From the highest score down: a negative loses to every positive above it, and the precision
    at a positive is the share of positives from the top to it; equal scores come at once.
    """
    order_N = np.argsort(-scores_N, kind="stable")
    starts = np.flatnonzero(np.diff(scores_N[order_N], prepend=np.inf))
    ends = np.append(starts[1:], len(order_N))
    hits_R, misses_R, lost_R, precision_R = np.zeros((4, weights_NR.shape[1]))
    misses_R += np.finfo(float).tiny  # so that nothing of nothing is 0 and not NaN
    buffer_R = np.empty_like(hits_R)
    with np.errstate(invalid="ignore", divide="ignore"):
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if end - start == 1:
                row = order_N[start]
                if positive_N[row]:
                    _add_precision(weights_NR[row], hits_R, misses_R, precision_R, buffer_R)
                else:
                    misses_R += weights_NR[row]
                    np.multiply(weights_NR[row], hits_R, out=buffer_R)
                    lost_R += buffer_R
                continue
            rows = order_N[start:end]
            above_R = hits_R.copy()
            negative_R = weights_NR[rows[~positive_N[rows]]].sum(axis=0)
            misses_R += negative_R
            gained_R = weights_NR[rows[positive_N[rows]]].sum(axis=0)
            _add_precision(gained_R, hits_R, misses_R, precision_R, buffer_R)
            lost_R += negative_R * (above_R + hits_R) / 2
        lonely_R = (hits_R < 0.5) | (misses_R < 0.5)
        auroc_R = np.where(lonely_R, np.nan, lost_R / (hits_R * misses_R))
        auprc_R = np.where(lonely_R, np.nan, precision_R / hits_R)
    return auroc_R, auprc_R


def _add_precision(
    weight_R: Floats, hits_R: Floats, misses_R: Floats, precision_R: Floats, buffer_R: Floats
) -> None:
    """Take positives of a weight in: count them, and add the precision at their score."""
    hits_R += weight_R
    np.add(hits_R, misses_R, out=buffer_R)
    np.divide(hits_R, buffer_R, out=buffer_R)
    np.multiply(buffer_R, weight_R, out=buffer_R)
    precision_R += buffer_R


def _over_classes(values_CR: tuple[Floats, ...]) -> Floats:
    """Average over the classes that a weighting has samples on both sides of."""
    stacked = np.stack(values_CR)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(stacked, axis=0) / (~np.isnan(stacked)).sum(axis=0))
