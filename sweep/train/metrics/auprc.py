"""AUPRC: average precision, the precision at each positive's score, averaged over the positives."""

import numpy as np
from numpy.typing import NDArray

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats
from sweep.train.metrics.ranks import Ranked, RankMetric


class AUPRC(RankMetric):
    """The area under the precision-recall curve, by its steps."""

    title = "AUPRC"
    mean_over_classes = True

    def of_ranks(self, ranked: Ranked) -> Floats:
        """Return the precision at each positive's score, averaged over the positives (K,)."""
        above_KN = _from_above(ranked.positive)
        precision_KN = above_KN / (above_KN + _from_above(ranked.negative))
        at_KN = np.take_along_axis(precision_KN, ranked.first, axis=1)
        return np.asarray((ranked.positive * at_KN).sum(axis=1) / ranked.positive.sum(axis=1))

    def influences_of_class(self, positive_N: NDArray[np.bool_], scores_N: Floats) -> Floats:
        """Differentiate the average precision.

        A positive adds its own precision and raises that of all positives at or below it; a
        negative lowers those.
        """
        _, run_N = np.unique(scores_N, return_inverse=True)
        runs = int(run_N.max()) + 1
        hits_R = np.bincount(run_N, weights=positive_N, minlength=runs)
        every_R = np.bincount(run_N, minlength=runs).astype(np.float64)
        above_hits_R, above_R = (np.cumsum(item[::-1])[::-1] for item in (hits_R, every_R))
        precision_R = above_hits_R / above_R
        positives = hits_R.sum()
        average = float((hits_R * precision_R).sum() / positives)
        # Sums over the positives with the score of a run or a lower one.
        raised_R = np.cumsum(hits_R * (above_R - above_hits_R) / above_R**2)
        lowered_R = np.cumsum(hits_R * above_hits_R / above_R**2)
        of_positive_N = precision_R[run_N] - average + raised_R[run_N]
        return np.asarray(np.where(positive_N, of_positive_N, -lowered_R[run_N]) / positives)


def _from_above(values_KN: Floats) -> Floats:
    return np.asarray(np.cumsum(values_KN[:, ::-1], axis=1)[:, ::-1])


METRICS.register("auprc", AUPRC())
