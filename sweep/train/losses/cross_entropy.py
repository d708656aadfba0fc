"""Cross-entropy of the softmax."""

import torch
from torch import Tensor
from torch.nn import functional

from sweep.space.registries import LOSSES
from sweep.train.losses.base import Loss


class CrossEntropy(Loss):
    """The negative logarithm of the probability of the right class."""

    def of_each(self, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Return the loss of each sample."""
        return functional.cross_entropy(logits_NC, labels_N, reduction="none")

    def mean(self, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return functional.cross_entropy(logits_NC, labels_N)

    def gradient(self, logits_BKC: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses and derivative: the probabilities, less 1 for the right class."""
        log_probabilities = torch.log_softmax(logits_BKC, dim=2)
        index = labels_B[:, None, None].expand(-1, logits_BKC.shape[1], 1)
        losses_K = -log_probabilities.gather(2, index).sum(dim=(0, 2), dtype=torch.float64)
        error_BKC = log_probabilities.exp_()
        error_BKC.scatter_add_(2, index, torch.full_like(index, -1, dtype=error_BKC.dtype))
        return losses_K, error_BKC


LOSSES.register("cross_entropy", CrossEntropy())
