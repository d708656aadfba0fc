"""MCC: Matthews' correlation of true and predicted classes; of several Gorodkin's (2004)."""

import numpy as np

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats
from sweep.train.metrics.confusion import ConfusionMetric, Counts


class MCC(ConfusionMetric):
    """A correlation, from -1 to 1."""

    title = "MCC"
    low = -1.0
    mean_over_classes = True

    def of_counts(self, counts: Counts) -> Floats:
        """Return the correlation; 0 where one side does not vary."""
        true, predicted = counts.true, counts.predicted
        total = true.sum(axis=-1)
        covariance = counts.hits.sum(axis=-1) * total - (true * predicted).sum(axis=-1)
        spread_true = total**2 - (true**2).sum(axis=-1)
        spread_predicted = total**2 - (predicted**2).sum(axis=-1)
        return np.asarray(np.nan_to_num(covariance / np.sqrt(spread_true * spread_predicted)))


METRICS.register("mcc", MCC())
