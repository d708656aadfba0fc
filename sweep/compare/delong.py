"""DeLong's test for two classes: the sampling error of AUROC differences, in closed form.

DeLong et al. (1988) by the midranks of Sun and Xu (2014); where samples come in groups
(patients), the covariance is Obuchowski's (1997), which sums each group's samples first and is
DeLong's if every group has one sample.

Dimensions: N samples, P positives, M negatives, G groups, K cells.
"""

import numpy as np

from sweep.compare.estimates import Normal
from sweep.compare.results import Predictions
from sweep.train.metrics import Floats, Labels


class Areas:
    """The AUROCs of cells of one two-class test split, and their covariance.

    Args:
        cells: of each cell the predictions of each seed, all on the same samples; a cell's area
            is the mean over its seeds.
    """

    def __init__(self, cells: list[list[Predictions]]) -> None:
        first = cells[0][0]
        self._positive_N = first.labels_N == 1
        components = [np.mean([self._components(p) for p in cell], axis=0) for cell in cells]
        placements_KN = np.stack(components)
        self.areas_K = placements_KN[:, self._positive_N].mean(axis=1)
        self.covariance_KK = self._covariance(placements_KN, first.groups_N)

    def difference(self, first: int, second: int) -> Normal:
        """Return the first cell's area minus the second's; its error is unknown (infinite) if
        all samples of a class are of one group.
        """
        point = float(self.areas_K[first] - self.areas_K[second])
        of_each = self.covariance_KK[first, first], self.covariance_KK[second, second]
        if np.isinf(of_each).any():
            return Normal(point, np.inf)
        variance = sum(of_each) - 2 * self.covariance_KK[first, second]
        return Normal(point, float(np.sqrt(max(variance, 0.0))))

    def _components(self, predictions: Predictions) -> Floats:
        """Return each sample's placement (N,): the share of the other class that it beats."""
        scores_N, positive_N = predictions.probabilities_NC[:, 1], self._positive_N
        placements_N = np.empty(len(scores_N))
        ranks_N = _midranks(scores_N)
        positives, negatives = positive_N.sum(), (~positive_N).sum()
        own_P, own_M = _midranks(scores_N[positive_N]), _midranks(scores_N[~positive_N])
        placements_N[positive_N] = (ranks_N[positive_N] - own_P) / negatives
        placements_N[~positive_N] = 1 - (ranks_N[~positive_N] - own_M) / positives
        return placements_N

    def _covariance(self, placements_KN: Floats, groups_N: Labels) -> Floats:
        centred_KN = placements_KN - self.areas_K[:, None]
        sums = [
            _group_sums(centred_KN * side_N, groups_N)[:, np.unique(groups_N)]
            for side_N in (self._positive_N, ~self._positive_N)
        ]
        sizes = [self._positive_N.sum(), (~self._positive_N).sum()]
        counts = [
            len(np.unique(groups_N[side_N])) for side_N in (self._positive_N, ~self._positive_N)
        ]
        if min(counts) < 2:
            return np.full((len(placements_KN),) * 2, np.inf)
        own_KK = [
            count / (count - 1) * sums_KG @ sums_KG.T / size**2
            for sums_KG, size, count in zip(sums, sizes, counts, strict=True)
        ]
        both_KK = sums[0] @ sums[1].T / (sizes[0] * sizes[1])
        groups = sums[0].shape[1]
        cross_KK = groups / (groups - 1) * (both_KK + both_KK.T)
        return np.asarray(own_KK[0] + own_KK[1] + cross_KK)


def _midranks(values_N: Floats) -> Floats:
    """Return ranks from 1, of equal values the mean; scipy.stats alone takes a second to import."""
    _, run_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[run_N])


def _group_sums(values_KN: Floats, groups_N: Labels) -> Floats:
    return np.stack([np.bincount(groups_N, weights=values_N) for values_N in values_KN])
