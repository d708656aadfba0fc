"""Precision, averaged over the classes with their frequencies."""

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats
from sweep.train.metrics.confusion import ConfusionMetric, Counts, by_frequency, precisions


class Precision(ConfusionMetric):
    """The classes' precision, weighted by their samples."""

    title = "Precision"

    def of_counts(self, counts: Counts) -> Floats:
        """Return the weighted mean."""
        return by_frequency(counts, precisions(counts))


METRICS.register("precision", Precision())
