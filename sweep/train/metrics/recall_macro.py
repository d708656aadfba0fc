"""Recall, averaged alike over the classes that are there or predicted."""

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats
from sweep.train.metrics.confusion import ConfusionMetric, Counts, macro, recalls


class MacroRecall(ConfusionMetric):
    """The classes' mean recall."""

    title = "Macro recall"
    mean_over_classes = True

    def of_counts(self, counts: Counts) -> Floats:
        """Return the mean."""
        return macro(counts, recalls(counts))


METRICS.register("recall_macro", MacroRecall())
