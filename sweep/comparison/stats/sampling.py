"""The metrics of one cell, how they vary with the test groups, and how with the training.

Two errors are known of a cell's metric. Another test set of the same patients' kind would give
another value: the sums of the samples' influences over each group (patient) say by how much.
And another training would: the confirmations, which differ in all that chance decides, say so.

Dimensions: N samples, G groups, S strata, F confirmations.
"""

import math
from dataclasses import dataclass

import numpy as np

from sweep.data.manifest import positives
from sweep.records.predictions import Predictions
from sweep.train.metrics import influences, metric_of, score
from sweep.train.metrics.base import Floats, Labels

# DeLong's variance is taken as known from this many groups of the rarest class on. With five, its
# normal test has twice its nominal error rate, with thirty slightly more (benchmarks/claims.py).
ENOUGH_GROUPS = 50


@dataclass(frozen=True, eq=False)
class MetricEstimate:
    """One metric of one cell.

    Attributes:
        point: the mean over the confirmations; of folds that of the pooled predictions.
        sums_SG: influence of each group on it, by stratum: of the AUROC the true classes, as
            the number of positives and negatives is given (DeLong), else one for all.
        groups_S: how many groups have samples in each stratum.
        spread: standard deviation over the confirmations; NaN for one.
        confirmations: how many there are.
        freedom: degrees of freedom of the variance over test groups.
        grain: variance of one group in each class being placed otherwise; see `Difference`.
        shared: variance, in units of `spread` squared, that confirmations have in common, so that
            it does not average out: of a choice that they share.
    """

    point: float
    sums_SG: Floats
    groups_S: Labels
    spread: float
    confirmations: int
    freedom: float = math.inf
    grain: float = 0.0
    shared: float = 0.0

    @property
    def training_variance(self) -> float:
        """The variance of the mean over the confirmations; infinite for one."""
        if self.confirmations < 2:
            return math.inf
        return (1 / self.confirmations + self.shared) * self.spread**2


def estimate(
    cell: list[Predictions], by_fold: list[Predictions] | None = None, shared: float = 0.0
) -> dict[str, MetricEstimate]:
    """Return every metric of a cell.

    Args:
        cell: predictions of each confirmation, on the same samples; those of folds pooled.
        by_fold: of folds, the predictions of each on its own samples. Their spread holds the
            error of their test samples, too, so that it errs on the safe side.
        shared: see `MetricEstimate`.
    """
    scores = [score(item.labels_N, item.probabilities_NC, item.target) for item in cell]
    of_each = scores if by_fold is None else [
        score(item.labels_N, item.probabilities_NC, item.target) for item in by_fold
    ]  # fmt: skip
    found = [influences(item.labels_N, item.probabilities_NC, item.target) for item in cell]
    nowhere_N = np.full(len(cell[0].labels_N), np.nan)
    return {
        name: sampled_metric(
            name,
            cell[0],
            [item[name] for item in scores],
            [item.get(name, nowhere_N) for item in found],
            [item[name] for item in of_each],
            shared,
        )
        for name in scores[0]
    }


def sampled_metric(
    name: str,
    test: Predictions,
    values: list[float],
    influences_FN: list[Floats],
    of_each: list[float],
    shared: float = 0.0,
) -> MetricEstimate:
    """Return one metric of a cell from its values and influences.

    Args:
        test: any predictions of the test split, for its labels and groups.
        values, influences_FN: of each confirmation; of folds of the pooled predictions alone.
        of_each: value of each confirmation, of folds on its own samples.
    """
    groups_C = groups_by_class(test)
    grain = float((1 / groups_C**2).sum()) / (1 if len(groups_C) == 2 else len(groups_C) ** 2)
    by_ranks, rarest = metric_of(name).interval == "area", int(groups_C.min())
    # Samples with several labels are in no one stratum.
    strata_N = test.labels_N if by_ranks and test.labels_N.ndim == 1 else 0 * test.groups_N
    return MetricEstimate(
        float(np.mean(values)),
        *_by_group(np.mean(influences_FN, axis=0), strata_N, test.groups_N),
        _spread(of_each),
        len(of_each),
        math.inf if by_ranks and rarest >= ENOUGH_GROUPS else float(max(1, rarest - 1)),
        grain,
        shared,
    )


def share_estimate(hits_FN: Floats, groups_N: Labels, shared: float = 0.0) -> MetricEstimate:
    """Return the share of samples of one kind that are hits, as an estimate of a metric.

    Args:
        hits_FN: of each confirmation, 1 for a hit, else 0.
        groups_N: of the samples.
        shared: see `MetricEstimate`.
    """
    shares_F = hits_FN.mean(axis=1)
    influence_N = (hits_FN - shares_F[:, None]).mean(axis=0) / hits_FN.shape[1]
    sums_SG, groups_S = _by_group(influence_N, np.zeros_like(groups_N), groups_N)
    freedom = float(max(1, int(groups_S[0]) - 1))
    of_each = shares_F.tolist()
    return MetricEstimate(
        float(shares_F.mean()), sums_SG, groups_S, _spread(of_each), len(of_each), freedom,
        shared=shared,
    )  # fmt: skip


def _by_group(influence_N: Floats, strata_N: Labels, groups_N: Labels) -> tuple[Floats, Labels]:
    strata, groups = int(strata_N.max()) + 1, int(groups_N.max()) + 1
    place_N = strata_N * groups + groups_N
    sums = np.bincount(place_N, weights=influence_N, minlength=strata * groups)
    there = np.bincount(place_N, minlength=strata * groups).reshape(strata, groups) > 0
    counts_S = there.sum(axis=1)
    return sums.reshape(strata, groups)[counts_S > 0], counts_S[counts_S > 0]


def groups_by_class(item: Predictions) -> Labels:
    """Return how many groups each class has that is there.

    Of several labels how many have each, or have it not, whichever is less.
    """
    if item.labels_N.ndim == 2:
        masks = [positives(item.labels_N, place) for place in range(item.labels_N.shape[1])]
        sides = [
            [len(np.unique(item.groups_N[side])) for side in (m, ~m)] for m in masks if m.any()
        ]
        return np.array([min(own) for own in sides], dtype=np.int64)
    labels = np.unique(item.labels_N)
    counts = [len(np.unique(item.groups_N[item.labels_N == label])) for label in labels]
    return np.array(counts, dtype=np.int64)


def _spread(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def test_variance(sums_SG: Floats, groups_S: Labels) -> float:
    """Return the variance of a metric, or of a weighted sum of metrics, over test groups.

    Groups are drawn with all of their samples, so their sums are what varies; the factors n/(n-1)
    are those of Obuchowski (1997), which are DeLong's where every group is one sample. Infinite
    if all samples of a stratum are of one group.
    """
    if (groups_S < 2).any():
        return math.inf
    squares_S = (sums_SG**2).sum(axis=1)
    own = float((groups_S / (groups_S - 1) * squares_S).sum())
    if len(groups_S) == 1:
        return own
    groups = sums_SG.shape[1]
    across = float((sums_SG.sum(axis=0) ** 2).sum() - squares_S.sum())
    return float(max(0.0, own + groups / (groups - 1) * across))
