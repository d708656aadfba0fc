"""A metric: the geometric mean of the recalls of the classes (Kubat and Matwin 1997)."""

import numpy as np

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats, Metric, WeightedPredictions


class GMean(Metric):
    """Written once, for weights; its interval comes of that."""

    title = "G-mean"
    mean_over_classes = True

    def score(self, given: WeightedPredictions) -> Floats:
        """Return the geometric mean of the recalls (K,)."""
        hits_KN = given.probabilities_KNC.argmax(axis=2) == given.labels_N
        recalls = [
            (hits_KN[:, own] * given.weights_N[own]).sum(axis=1) / given.weights_N[own].sum()
            for own in (given.labels_N == label for label in np.unique(given.labels_N))
        ]
        return np.asarray(np.prod(recalls, axis=0) ** (1 / len(recalls)))


G_MEAN = GMean()
METRICS.register("g_mean", G_MEAN)
