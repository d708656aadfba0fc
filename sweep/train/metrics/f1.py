"""F1, averaged over the classes with their frequencies."""

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats
from sweep.train.metrics.confusion import ConfusionMetric, Counts, by_frequency, f1s


class F1(ConfusionMetric):
    """The classes' f1, weighted by their samples."""

    title = "F1"

    def of_counts(self, counts: Counts) -> Floats:
        """Return the weighted mean."""
        return by_frequency(counts, f1s(counts))


METRICS.register("f1", F1())
