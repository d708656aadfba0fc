"""Differences of one cell's metric between two sets of samples: other hospitals, other subgroups.

The test errors of the two add up, less what they share where patients have samples in both. The
models are the same on either side, so that the training error is that of the differences over the
confirmations.
"""

import math
from collections.abc import Sequence

import numpy as np

from sweep.comparison.stats.difference import LEAST_CONFIRMATIONS, Difference
from sweep.comparison.stats.sampling import MetricEstimate, test_variance
from sweep.train.metrics.base import Floats


def difference_across(
    first: MetricEstimate,
    second: MetricEstimate,
    values: Sequence[tuple[float, float]],
    same_groups: bool = False,
) -> Difference:
    """Return the metric on the first set less that on the second.

    Args:
        values: of each confirmation, on the two sets.
        same_groups: group number g is the same patient in both.
    """
    tests = [test_variance(item.sums_SG, item.groups_S) for item in (first, second)]
    shared = 2 * _covariance(first.sums_SG, second.sums_SG) if same_groups else 0.0
    test = max(0.0, sum(tests) - shared)
    point = first.point - second.point
    gaps = [one - other for one, other in values]
    enough = len(gaps) >= LEAST_CONFIRMATIONS and math.isfinite(test)
    if not enough or math.isnan(point) or np.isnan(gaps).any():
        return Difference(point, test, math.nan, math.inf, judged=False)
    training = float(np.var(gaps, ddof=1)) * (1 / len(gaps) + first.shared)
    squares = sum(v**2 / item.freedom for v, item in zip(tests, (first, second), strict=True))
    squares += training**2 / (len(gaps) - 1)
    freedom = (sum(tests) + training) ** 2 / squares if squares > 0 else math.inf
    return Difference(point, test, training, freedom, first.grain + second.grain)


def _covariance(first_SG: Floats, second_SG: Floats) -> float:
    """Return the covariance over groups that have samples in both sets."""
    totals = [sums_SG.sum(axis=0) for sums_SG in (first_SG, second_SG)]
    groups = min(len(total_G) for total_G in totals)
    if groups < 2:
        return 0.0
    a_G, b_G = (total_G[:groups] for total_G in totals)
    both = (a_G != 0) & (b_G != 0)
    count = int(both.sum())
    return float((a_G * b_G).sum()) * count / (count - 1) if count > 1 else 0.0
