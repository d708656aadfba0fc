"""Balanced accuracy: the mean recall of the classes that have samples."""

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats
from sweep.train.metrics.confusion import ConfusionMetric, Counts, mean_over, recalls


class BalancedAccuracy(ConfusionMetric):
    """The mean of the classes' recalls."""

    title = "Balanced accuracy"
    mean_over_classes = True

    def of_counts(self, counts: Counts) -> Floats:
        """Return the mean recall."""
        return mean_over(recalls(counts), counts.true > 0)


METRICS.register("balanced_accuracy", BalancedAccuracy())
