"""Intervals from stored predictions: a paired, grouped percentile bootstrap (Efron 1979).

Whole groups (patients) are drawn, with replacement, as their samples are not independent. All
cells of a test split get the same draws, and a resample's score is the mean over the seeds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.compare.results import Predictions
from sweep.train.metrics import score

RESAMPLES = 5000
REPORTED = ("auroc", "accuracy", "balanced_accuracy", "precision", "recall", "f1")

_SEED = 20240212
_CHUNK = 1 << 22  # weights held at once


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95 % interval."""

    mean: float
    low: float
    high: float


def intervals(
    predictions: list[Predictions],
    metrics: tuple[str, ...] = REPORTED,
    resamples: int = RESAMPLES,
) -> dict[str, Interval]:
    """Return each metric with its interval.

    Args:
        predictions: of each seed, on the same samples in the same order.
    """
    if not predictions:
        return {}
    points = [score(p.labels_N, p.probabilities_NC, None, metrics) for p in predictions]
    drawn = _drawn(predictions, metrics, resamples)
    result = {}
    for name in metrics:
        mean = float(np.mean([point[name][0] for point in points]))
        values_R = drawn[name][~np.isnan(drawn[name])]
        low, high = np.percentile(values_R, [2.5, 97.5]) if len(values_R) else (mean, mean)
        result[name] = Interval(mean, float(low), float(high))
    return result


def draw_weights(
    groups_N: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return how often each sample is drawn in each resample, shape (R, N)."""
    count = int(groups_N.max()) + 1
    drawn_RG = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.asarray(drawn_RG[:, groups_N], dtype=np.float64)


def _drawn(
    predictions: list[Predictions], metrics: tuple[str, ...], resamples: int
) -> dict[str, NDArray[np.float64]]:
    """Return the mean over seeds of each metric in each resample."""
    rng = np.random.default_rng(_SEED)
    groups_N = predictions[0].groups_N
    chunk = max(1, _CHUNK // len(groups_N))
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in metrics}
    for start in range(0, resamples, chunk):
        weights_RN = draw_weights(groups_N, min(chunk, resamples - start), rng)
        seeds = [score(p.labels_N, p.probabilities_NC, weights_RN, metrics) for p in predictions]
        for name in metrics:
            parts[name].append(np.mean([values[name] for values in seeds], axis=0))
    return {name: np.concatenate(chunks) for name, chunks in parts.items()}
