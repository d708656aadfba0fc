"""Backbones and modes across datasets: average ranks, Friedman's test, Nemenyi's distances.

Demšar (2006). Few datasets tell little: with six, two methods of twelve must be about seven
ranks apart before the test calls them different.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweep.comparison.comparison import Comparison

_LEAST_METHODS = 3


@dataclass(frozen=True)
class Ranks:
    """The ranks of methods (backbone and mode) over the datasets that all were tested on.

    Attributes:
        average: of each method, the best first; 1 is best.
        statistic, p: of Friedman's test that all methods are alike.
        distance: the difference of average ranks from which two methods differ at 5 %.
        nemenyi: p-values, methods by methods.
    """

    datasets: list[str]
    average: pd.Series
    statistic: float
    p: float
    distance: float
    nemenyi: pd.DataFrame


def ranks(comparison: Comparison) -> Ranks | None:
    """Rank the methods; None where there are fewer than two datasets or three methods."""
    scores = _scores(comparison)
    if len(scores) < 2 or scores.shape[1] < _LEAST_METHODS:
        return None
    from scikit_posthocs import posthoc_nemenyi_friedman
    from scipy.stats import friedmanchisquare, studentized_range

    average = (-scores).rank(axis=1).mean().sort_values()
    methods, blocks = scores.shape[1], len(scores)
    with np.errstate(invalid="ignore"):
        statistic, p = friedmanchisquare(*(scores[name] for name in scores))
    critical = studentized_range.ppf(0.95, methods, np.inf) / np.sqrt(2)
    return Ranks(
        list(scores.index),
        average,
        float(np.nan_to_num(statistic)),
        1.0 if np.isnan(p) else float(p),
        float(critical * np.sqrt(methods * (methods + 1) / (6 * blocks))),
        posthoc_nemenyi_friedman(scores).loc[average.index, average.index],
    )


def _scores(comparison: Comparison) -> pd.DataFrame:
    """Return the gain of each method (column) on each dataset (row) that has them all."""
    metric, sign = comparison.choices.metric, comparison.choices.sign
    table = pd.DataFrame(
        {
            dataset: {row.label: sign * row.estimates[metric].point for row in rows}
            for dataset, rows in comparison.datasets.items()
        }
    ).T
    # A cell that only one sweep has cannot be ranked on the datasets of the other sweep.
    if comparison.several:
        table = table.dropna(axis=1)
    return table.dropna(axis=0)
