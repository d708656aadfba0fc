"""MCC: Matthews' correlation of true and predicted classes; of several Gorodkin's (2004).

Of several labels the mean of their correlations.
"""

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
        if counts.samples is not None:
            return np.asarray(_of_labels(counts).mean(axis=-1))
        true, predicted = counts.true, counts.predicted
        total = true.sum(axis=-1)
        covariance = counts.hits.sum(axis=-1) * total - (true * predicted).sum(axis=-1)
        spread_true = total**2 - (true**2).sum(axis=-1)
        spread_predicted = total**2 - (predicted**2).sum(axis=-1)
        return np.asarray(np.nan_to_num(covariance / np.sqrt(spread_true * spread_predicted)))


def _of_labels(counts: Counts) -> Floats:
    """Return the correlation of each label (..., C); 0 where one side does not vary.

    NaN of counts that no samples can have, as those of a step below none.
    """
    assert counts.samples is not None
    samples, true, predicted = counts.samples, counts.true, counts.predicted
    covariance = counts.hits * samples - true * predicted
    spread = true * (samples - true) * predicted * (samples - predicted)
    varies = np.where(spread > 0, spread, 1.0)
    found = np.where(spread > 0, covariance / np.sqrt(varies), 0.0)
    return np.asarray(np.where(spread < 0, np.nan, found))


METRICS.register("mcc", MCC())
