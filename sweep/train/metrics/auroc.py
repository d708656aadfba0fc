"""AUROC: the chance that a sample of a class is ranked above one of the others."""

import numpy as np
from numpy.typing import NDArray

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats
from sweep.train.metrics.ranks import Ranked, RankMetric


class AUROC(RankMetric):
    """The area under the receiver operating characteristic."""

    title = "AUROC"
    interval = "area"

    def of_ranks(self, ranked: Ranked) -> Floats:
        """Return the chance that a positive scores above a negative, ties counted half (K,)."""
        upto_KN = np.cumsum(ranked.negative, axis=1)
        below_KN = np.take_along_axis(upto_KN - ranked.negative, ranked.first, axis=1)
        both_KN = below_KN + np.take_along_axis(upto_KN, ranked.last, axis=1)
        pairs_K = (ranked.positive * both_KN / 2).sum(axis=1)
        return np.asarray(pairs_K / (ranked.positive.sum(axis=1) * ranked.negative.sum(axis=1)))

    def influences_of_class(self, positive_N: NDArray[np.bool_], scores_N: Floats) -> Floats:
        """Return each sample's placement less the AUROC, over the number of its side.

        The placement is the share of the other side that it beats, by the midranks of Sun and
        Xu (2014).
        """
        placements_N = np.empty(len(scores_N))
        ranks_N = midranks(scores_N)
        positives, negatives = int(positive_N.sum()), int((~positive_N).sum())
        own_P, own_M = midranks(scores_N[positive_N]), midranks(scores_N[~positive_N])
        placements_N[positive_N] = (ranks_N[positive_N] - own_P) / negatives
        placements_N[~positive_N] = 1 - (ranks_N[~positive_N] - own_M) / positives
        area = placements_N[positive_N].mean()
        return np.asarray((placements_N - area) / np.where(positive_N, positives, negatives))


def midranks(values_N: Floats) -> Floats:
    """Return ranks from 1, of equal values the mean; scipy.stats alone takes a second to import."""
    _, run_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[run_N])


METRICS.register("auroc", AUROC())
