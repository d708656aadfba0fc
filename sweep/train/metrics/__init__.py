"""Metrics of class probabilities, one file a metric, each written once for weighted samples.

Dimensions: N samples, C classes, K predictions of the same samples (the members of a wave),
U units of samples that are scored as one.
"""

import numpy as np

from sweep.space.registries import METRICS
from sweep.train.metrics.base import Floats, Labels, Metric, WeightedPredictions

# The order in reports; metrics from outside follow.
_ORDER = (
    "accuracy", "balanced_accuracy", "precision", "recall", "f1", "precision_macro",
    "recall_macro", "f1_macro", "mcc", "quadratic_kappa", "auroc", "auprc", "ece", "brier", "mae",
)  # fmt: skip


def all_metrics(target: str | None = None) -> dict[str, Metric]:
    """Return every metric by its name, in the order in which they are shown.

    Args:
        target: leave out those without a meaning for this kind of target.
    """
    found: dict[str, Metric] = METRICS.items()
    ordered = {name: found[name] for name in dict.fromkeys([*_ORDER, *found])}
    return {n: own for n, own in ordered.items() if target is None or target in own.targets}


def metric_of(name: str) -> Metric:
    """Return a metric; raises ValueError if there is none of that name."""
    found: Metric = METRICS.get(name)
    return found


def score(
    labels_N: Labels, probabilities_NC: Floats, target: str = "multiclass"
) -> dict[str, float]:
    """Return every metric of one prediction; NaN for what one class alone leaves undefined.

    Args:
        labels_N: class indices; of several labels a matrix (N, C) of 0 and 1.
        probabilities_NC: class probabilities, or of each label.
        target: the kind of target; see `sweep.space.specs.Target`.
    """
    values = score_each(labels_N, probabilities_NC[None], target)
    return {name: float(value_K[0]) for name, value_K in values.items()}


def score_each(
    labels_N: Labels, probabilities_KNC: Floats, target: str = "multiclass"
) -> dict[str, Floats]:
    """Return every metric of each of K predictions of the same samples: metric -> (K,)."""
    given = WeightedPredictions.of_weight_1(labels_N, probabilities_KNC)
    return {name: metric.score(given) for name, metric in all_metrics(target).items()}


def influences(
    labels_N: Labels, probabilities_NC: Floats, target: str = "multiclass"
) -> dict[str, Floats]:
    """Return the influence of each sample on each metric that has a variance: metric -> (N,)."""
    given = WeightedPredictions.of_weight_1(labels_N, probabilities_NC[None])
    metrics = all_metrics(target).items()
    return {name: metric.influences(given) for name, metric in metrics if metric.has_variance}


def pool(
    labels_N: Labels, probabilities_KNC: Floats, units_N: Labels | None
) -> tuple[Labels, Floats]:
    """Return the label (U,) and the mean probabilities (K, U, C) of each unit of samples.

    Args:
        units_N: which unit each sample belongs to, from 0; all samples of a unit have the same
            label, or labels.
            None leaves everything as it is.
    """
    if units_N is None:
        return labels_N, probabilities_KNC
    labels_U = np.empty((int(units_N.max()) + 1, *labels_N.shape[1:]), dtype=labels_N.dtype)
    labels_U[units_N] = labels_N
    sums_UKC = np.zeros((len(labels_U), *probabilities_KNC.shape[::2]))
    np.add.at(sums_UKC, units_N, probabilities_KNC.swapaxes(0, 1))
    means_UKC = sums_UKC / np.bincount(units_N)[:, None, None]
    return labels_U, np.ascontiguousarray(means_UKC.swapaxes(0, 1))
