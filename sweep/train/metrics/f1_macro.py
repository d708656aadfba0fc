"""F1, averaged alike over the classes that are there or predicted."""

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats
from sweep.train.metrics.confusion import ConfusionMetric, Counts, f1s, macro


class MacroF1(ConfusionMetric):
    """The classes' mean f1."""

    title = "Macro F1"
    mean_over_classes = True

    def of_counts(self, counts: Counts) -> Floats:
        """Return the mean."""
        return macro(counts, f1s(counts))


METRICS.register("f1_macro", MacroF1())
