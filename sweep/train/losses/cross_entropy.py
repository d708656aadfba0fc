"""Cross-entropy: of the softmax, or of each label's sigmoid where a sample may have several."""

import torch
from torch import Tensor
from torch.nn import functional

from sweep.space.registries import LOSSES
from sweep.train.losses.base import Loss


class CrossEntropy(Loss):
    """The negative logarithm of the probability of the right class.

    Of several labels the mean of their binary cross-entropies.
    """

    targets = frozenset({"multiclass", "ordinal", "multilabel"})

    def of_each(self, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Return the loss of each sample."""
        if labels_N.ndim == 2:
            return _binary(logits_NC, labels_N.to(logits_NC.dtype)).mean(dim=1)
        return functional.cross_entropy(logits_NC, labels_N, reduction="none")

    def mean(self, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        if labels_N.ndim == 2:
            return self.of_each(logits_NC, labels_N).mean()
        return functional.cross_entropy(logits_NC, labels_N)

    def smoothed(self, logits_NC: Tensor, labels_N: Tensor, smoothing: float) -> Tensor:
        """Return the loss of each sample (N,), with targets that are nearer to each other."""
        if labels_N.ndim == 2:
            targets_NC = labels_N * (1 - smoothing) + smoothing / 2
            return _binary(logits_NC, targets_NC.to(logits_NC.dtype)).mean(dim=1)
        return super().smoothed(logits_NC, labels_N, smoothing)

    def gradient(self, logits_BKC: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses and derivative: the probabilities, less 1 for the right class."""
        if labels_B.ndim == 2:
            targets_BKC = labels_B[:, None].to(logits_BKC.dtype).expand_as(logits_BKC)
            losses_BKC = _binary(logits_BKC, targets_BKC)
            losses_K = losses_BKC.mean(dim=2).sum(dim=0, dtype=torch.float64)
            return losses_K, (logits_BKC.sigmoid() - targets_BKC) / logits_BKC.shape[2]
        log_probabilities = torch.log_softmax(logits_BKC, dim=2)
        index = labels_B[:, None, None].expand(-1, logits_BKC.shape[1], 1)
        losses_K = -log_probabilities.gather(2, index).sum(dim=(0, 2), dtype=torch.float64)
        error_BKC = log_probabilities.exp_()
        error_BKC.scatter_add_(2, index, torch.full_like(index, -1, dtype=error_BKC.dtype))
        return losses_K, error_BKC


def _binary(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")


LOSSES.register("cross_entropy", CrossEntropy())
