"""Precision, averaged alike over the classes that are there or predicted."""

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats
from sweep.train.metrics.confusion import ConfusionMetric, Counts, macro, precisions


class MacroPrecision(ConfusionMetric):
    """The classes' mean precision."""

    title = "Macro precision"
    mean_over_classes = True

    def of_counts(self, counts: Counts) -> Floats:
        """Return the mean."""
        return macro(counts, precisions(counts))


METRICS.register("precision_macro", MacroPrecision())
