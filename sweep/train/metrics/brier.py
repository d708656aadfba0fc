"""Brier score: the mean squared error of the probabilities; of two classes the second's.

Of several labels the mean of their Brier scores.
"""

import numpy as np

from sweep.space.registries import METRICS
from sweep.train.metrics.base import ALL_TARGETS, Floats, Labels, Metric, WeightedPredictions


class Brier(Metric):
    """The mean of the samples' squared errors."""

    title = "Brier score"
    lower_is_better = True
    interval = "error"
    targets = ALL_TARGETS

    def score(self, given: WeightedPredictions) -> Floats:
        """Return the mean squared error of each prediction (K,)."""
        errors = [_squared_errors(given.labels_N, p_NC) for p_NC in given.probabilities_KNC]
        return np.array([np.average(errors_N, weights=given.weights_N) for errors_N in errors])

    def influences(self, given: WeightedPredictions) -> Floats:
        """Return how far each sample's error is from their mean, over N."""
        errors_N = _squared_errors(given.labels_N, given.probabilities_KNC[0])
        return np.asarray((errors_N - errors_N.mean()) / len(errors_N))

    def most(self, classes: int, multilabel: bool = False) -> float:
        """Return 1 for labels and for two classes, of which one counts, and 2 for more."""
        return 1.0 if multilabel or classes == 2 else 2.0


def _squared_errors(labels_N: Labels, probabilities_NC: Floats) -> Floats:
    """Return each sample's part of the Brier score, shape (N,)."""
    if labels_N.ndim == 2:
        return np.asarray(((probabilities_NC - labels_N) ** 2).mean(axis=1))
    one_hot_NC = np.eye(probabilities_NC.shape[1])[labels_N]
    errors_N = ((probabilities_NC - one_hot_NC) ** 2).sum(axis=1)
    return np.asarray(errors_N / 2 if probabilities_NC.shape[1] == 2 else errors_N)


METRICS.register("brier", Brier())
