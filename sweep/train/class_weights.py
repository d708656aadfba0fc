"""What a sample of each class weighs in the loss."""

import torch
from torch import Tensor


def class_weights(labels_N: Tensor, classes: int, how: str) -> Tensor:
    """Return the weight of each class (C,), float32.

    ``balanced`` is scikit-learn's: N / (C n_c), so that every class weighs the same in all and
    the mean weight of a sample is 1.
    """
    if how == "none":
        return torch.ones(classes, device=labels_N.device)
    counts_C = torch.bincount(labels_N, minlength=classes).clamp(min=1)
    return len(labels_N) / (classes * counts_C.float())
