"""Balanced accuracy: the mean recall of the classes that have samples.

Of several labels the mean of their balanced accuracies.
"""

import numpy as np

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats
from sweep.train.metrics.confusion import ConfusionMetric, Counts, mean_over, recalls


class BalancedAccuracy(ConfusionMetric):
    """The mean of the classes' recalls."""

    title = "Balanced accuracy"
    mean_over_classes = True

    def of_counts(self, counts: Counts) -> Floats:
        """Return the mean recall."""
        if counts.samples is not None:
            others = counts.samples - counts.true
            specificity = np.nan_to_num(counts.rejected / others)
            both = np.asarray((recalls(counts) + specificity) / 2)
            return mean_over(both, np.asarray((counts.true > 0) & (others > 0)))
        return mean_over(recalls(counts), counts.true > 0)


METRICS.register("balanced_accuracy", BalancedAccuracy())
