"""Temperature scaling (Guo et al. 2017): probabilities that are as sure as validation allows.

Dimensions: N samples, C classes.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit
from torch import nn

_BOUNDS = (-4.0, 4.0)  # of the temperature's logarithm
_LEAST = 1e-300  # of float64; the logits that are lost below it are 690 apart

Probabilities = NDArray[np.float64]


def fit_temperature(
    labels_N: NDArray[np.int64],
    probabilities_NC: Probabilities,
    pool: Callable[[Probabilities], Probabilities] = lambda probabilities: probabilities,
) -> float:
    """Return the most probable temperature, given validation samples.

    Two priors keep samples which are all told apart from asking for probabilities of 0 and 1. The
    targets are Platt's (1999) with the half counts of Krichevsky and Trofimov (1981): of a class
    with n samples (n + 1/2) / (n + 1). The logarithm of the temperature is normal, of variance 1
    about 0. Platt's whole counts and no prior were less well calibrated: benchmarks/README.md.

    Args:
        labels_N: of the units that are scored.
        pool: what makes probabilities of units from those of samples.
    """
    several = labels_N.ndim == 2
    targets_NC = _targets_of_labels(labels_N) if several else _targets(labels_N, probabilities_NC)

    def loss(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        scaled_NC = pool(with_temperature(probabilities_NC, temperature, several))
        cross_entropy = -(targets_NC * np.log(np.maximum(scaled_NC, _LEAST))).sum()
        if several:
            cross_entropy -= ((1 - targets_NC) * np.log(np.maximum(1 - scaled_NC, _LEAST))).sum()
        return float(cross_entropy) + log_temperature**2 / 2

    return float(np.exp(minimize_scalar(loss, bounds=_BOUNDS, method="bounded").x))


def _targets(labels_N: NDArray[np.int64], probabilities_NC: Probabilities) -> Probabilities:
    """Return Platt's targets (N, C) of classes."""
    classes = probabilities_NC.shape[1]
    counts_C = np.bincount(labels_N, minlength=classes)
    share_N = ((counts_C + 0.5) / (counts_C + 1))[labels_N]
    targets_NC = np.repeat(((1 - share_N) / (classes - 1))[:, None], classes, axis=1)
    targets_NC[np.arange(len(labels_N)), labels_N] = share_N
    return np.asarray(targets_NC)


def _targets_of_labels(labels_NC: NDArray[np.int64]) -> Probabilities:
    """Return Platt's targets (N, C) of labels, each of which a sample has or has not."""
    counts_C = labels_NC.sum(axis=0)
    others_C = len(labels_NC) - counts_C
    has_C, lacks_C = (counts_C + 0.5) / (counts_C + 1), 0.5 / (others_C + 1)
    return np.asarray(np.where(labels_NC == 1, has_C, lacks_C))


def with_temperature(
    probabilities_NC: Probabilities, temperature: float, multilabel: bool = False
) -> Probabilities:
    """Return what the softmax gives for the same logits, divided by a temperature.

    Args:
        multilabel: the probabilities are each label's sigmoid.
    """
    if multilabel:
        ends = (np.log(np.maximum(p, _LEAST)) for p in (probabilities_NC, 1 - probabilities_NC))
        logits_NC = np.subtract(*ends) / temperature
        return np.asarray(expit(logits_NC))
    logits_NC = np.log(np.maximum(probabilities_NC, _LEAST)) / temperature
    exponentials_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    scaled_NC: Probabilities = exponentials_NC / exponentials_NC.sum(axis=1, keepdims=True)
    return scaled_NC


@torch.no_grad()
def divide_logits(head: nn.Module, temperature: float) -> None:
    """Let a head give its logits divided by a temperature."""
    if isinstance(head, nn.Linear):
        head.weight.div_(temperature)
        head.bias.div_(temperature)
    else:
        head.calibration = float(head.calibration) * temperature  # type: ignore[assignment,arg-type]
