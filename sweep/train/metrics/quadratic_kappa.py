"""Cohen's kappa with quadratic weights (Cohen 1968): agreement on ordered classes beyond chance.

One less the mean squared distance of the true and the predicted class, over what it would be if
they were independent. It is a function of means over the samples, which is how it is computed.
"""

import numpy as np

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats, Metric, WeightedPredictions


class QuadraticKappa(Metric):
    """An agreement, from -1 to 1; the distance of two classes is that of their places."""

    title = "Quadratic kappa"
    low = -1.0
    targets = frozenset({"ordinal"})

    def score(self, given: WeightedPredictions) -> Floats:
        """Return the kappa of each prediction (K,); NaN if all is one class."""
        predicted_KN = given.probabilities_KNC.argmax(axis=2)
        with np.errstate(invalid="ignore"):
            return np.array([_kappa(*_means(given, own_N)) for own_N in predicted_KN])

    def influences(self, given: WeightedPredictions) -> Floats:
        """Differentiate by each of the means, which vary with each sample's distance from them."""
        predicted_N = given.probabilities_KNC[0].argmax(axis=1)
        means = _means(given, predicted_N)
        terms = zip(_terms(given, predicted_N), means, strict=True)
        distance, true, true_2, predicted, predicted_2 = (own_N - mean for own_N, mean in terms)
        observed, mean_true, _, mean_predicted, _ = means
        by_chance = _by_chance(*means[1:])
        chance = true_2 + predicted_2 - 2 * (mean_true * predicted + mean_predicted * true)
        with np.errstate(invalid="ignore"):
            found_N = (observed / by_chance * chance - distance) / by_chance
        return np.asarray(found_N / len(found_N))


def _terms(given: WeightedPredictions, predicted_N: Floats) -> tuple[Floats, ...]:
    true_N, own_N = given.labels_N.astype(np.float64), predicted_N.astype(np.float64)
    return (true_N - own_N) ** 2, true_N, true_N**2, own_N, own_N**2


def _means(given: WeightedPredictions, predicted_N: Floats) -> tuple[np.float64, ...]:
    terms = _terms(given, predicted_N)
    return tuple(np.average(values_N, weights=given.weights_N) for values_N in terms)


def _by_chance(
    true: np.float64, true_2: np.float64, predicted: np.float64, predicted_2: np.float64
) -> np.float64:
    """Return the mean squared distance of independent classes with these moments."""
    return true_2 + predicted_2 - 2 * true * predicted


def _kappa(observed: np.float64, *moments: np.float64) -> np.float64:
    return 1 - observed / _by_chance(*moments)


METRICS.register("quadratic_kappa", QuadraticKappa())
