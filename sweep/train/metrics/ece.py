"""ECE: the expected calibration error of the predicted class (Guo et al. 2017).

Of several labels the mean of their errors; what is predicted of each is that it is there, or not.
"""

import numpy as np

from sweep.space.registries import METRICS
from sweep.train.metrics.base import ALL_TARGETS, Floats, Labels, Metric, WeightedPredictions

CALIBRATION_BINS = 15


class ECE(Metric):
    """How far confidence and accuracy are apart, in 15 bins of equal width."""

    title = "ECE"
    lower_is_better = True
    targets = ALL_TARGETS
    has_variance = False  # the noise of the predictions biases this metric upwards

    def score(self, given: WeightedPredictions) -> Floats:
        """Return the mean gap of the bins (K,), weighted with their samples."""
        return np.array([self._of_one(given, p_NC) for p_NC in given.probabilities_KNC])

    def _of_one(self, given: WeightedPredictions, probabilities_NC: Floats) -> float:
        if given.multilabel:
            labels = range(given.classes)
            return float(np.mean([self._of_label(given, probabilities_NC, c) for c in labels]))
        gaps_N, bins_N = calibration_gaps(given.labels_N, probabilities_NC)
        gaps = np.bincount(bins_N, weights=gaps_N * given.weights_N)
        return float(np.abs(gaps).sum() / given.weights_N.sum())

    def _of_label(self, given: WeightedPredictions, probabilities_NC: Floats, place: int) -> float:
        of_label_NC = two_sided(probabilities_NC[:, place])
        one = WeightedPredictions(given.labels_N[:, place], of_label_NC[None], given.weights_N)
        return self._of_one(one, of_label_NC)


def two_sided(probabilities_N: Floats) -> Floats:
    """Return the probabilities (N, 2) that a label is not there, and that it is."""
    return np.stack([1 - probabilities_N, probabilities_N], axis=1)


def calibration_gaps(labels_N: Labels, probabilities_NC: Floats) -> tuple[Floats, Labels]:
    """Return how far each sample's hit (0 or 1) is above its confidence, and its bin (N,).

    The ECE is the sum over the bins of the absolute sums of these gaps, over N.
    """
    confidence_N = probabilities_NC.max(axis=1)
    hits_N = probabilities_NC.argmax(axis=1) == labels_N
    # As in Guo et al., a bin includes its upper end: 0.2 belongs to the bin that ends there.
    bins_N = np.clip(np.ceil(confidence_N * CALIBRATION_BINS) - 1, 0, CALIBRATION_BINS - 1)
    return hits_N - confidence_N, bins_N.astype(np.int64)


METRICS.register("ece", ECE())
