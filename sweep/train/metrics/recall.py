"""Recall, averaged over the classes with their frequencies."""

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats
from sweep.train.metrics.confusion import ConfusionMetric, Counts, by_frequency, recalls


class Recall(ConfusionMetric):
    """The classes' recall, weighted by their samples."""

    title = "Recall"

    def of_counts(self, counts: Counts) -> Floats:
        """Return the weighted mean."""
        return by_frequency(counts, recalls(counts))


METRICS.register("recall", Recall())
