"""Accuracy: the share of the samples that were predicted rightly.

Of several labels the mean of their accuracies, which is one less the Hamming loss.
"""

import numpy as np

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats
from sweep.train.metrics.confusion import ConfusionMetric, Counts


class Accuracy(ConfusionMetric):
    """Hits over samples."""

    title = "Accuracy"

    def of_counts(self, counts: Counts) -> Floats:
        """Return the share of the hits."""
        if counts.samples is not None:
            return np.asarray(((counts.hits + counts.rejected) / counts.samples).mean(axis=-1))
        return np.asarray(counts.hits.sum(axis=-1) / counts.true.sum(axis=-1))


METRICS.register("accuracy", Accuracy())
