"""Mean absolute error: how many places the predicted class is from the true one."""

import numpy as np

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats, Metric, WeightedPredictions


class MeanAbsoluteError(Metric):
    """The mean distance of the predicted class's place from the true one's."""

    title = "Mean absolute error"
    lower_is_better = True
    interval = "error"
    targets = frozenset({"ordinal"})

    def score(self, given: WeightedPredictions) -> Floats:
        """Return the mean distance of each prediction (K,)."""
        predicted_KN = given.probabilities_KNC.argmax(axis=2)
        distance_KN = np.abs(predicted_KN - given.labels_N)
        return np.asarray(np.average(distance_KN, axis=1, weights=given.weights_N))

    def influences(self, given: WeightedPredictions) -> Floats:
        """Return how far each sample's distance is from the mean, over their number."""
        predicted_N = given.probabilities_KNC[0].argmax(axis=1)
        distance_N = np.abs(predicted_N - given.labels_N).astype(np.float64)
        return np.asarray((distance_N - distance_N.mean()) / len(distance_N))

    def most(self, classes: int, multilabel: bool = False) -> float:
        """Return the distance of the first class from the last."""
        return float(classes - 1)


METRICS.register("mae", MeanAbsoluteError())
