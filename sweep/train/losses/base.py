"""What a loss is.

Dimensions: N or B samples, C classes, K members of a wave.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from sweep.space.registries import LOSSES


class Loss(ABC):
    """What training makes small: a function of the logits and the class of each sample.

    Attributes:
        targets: kinds of target that it has a meaning for; see `sweep.space.specs.Target`.
    """

    targets: frozenset[str] = frozenset({"multiclass", "ordinal"})

    @abstractmethod
    def of_each(self, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Return the loss of each sample (N,), by operations of torch.

        Args:
            logits_NC: float32 or float64.
            labels_N: class indices, int64; of several labels a sample 0 and 1, shape (N, C).
        """

    def mean(self, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return self.of_each(logits_NC, labels_N).mean()

    def smoothed(self, logits_NC: Tensor, labels_N: Tensor, smoothing: float) -> Tensor:
        """Return the loss of each sample (N,), a share of which is the mean over all classes.

        Label smoothing (Szegedy et al. 2016), for any loss that is a function of the class.
        """
        own_N = self.of_each(logits_NC, labels_N)
        if not smoothing:
            return own_N
        classes = range(logits_NC.shape[1])
        others = [self.of_each(logits_NC, torch.full_like(labels_N, c)) for c in classes]
        return (1 - smoothing) * own_N + smoothing * torch.stack(others).mean(dim=0)

    def gradient(self, logits_BKC: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed losses of each member (K,) float64, and their derivative (B, K, C).

        The logits may be overwritten.
        """
        members = logits_BKC.shape[1]
        with torch.inference_mode(mode=False), torch.enable_grad():
            logits = logits_BKC.flatten(0, 1).clone().requires_grad_()
            losses = self.of_each(logits, labels_B.clone().repeat_interleave(members, dim=0))
            (error,) = torch.autograd.grad(losses.sum(), logits)
        sums_K = losses.detach().view(-1, members).sum(dim=0, dtype=torch.float64)
        return sums_K, error.view_as(logits_BKC)


def loss_of(name: str) -> Loss:
    """Return the loss that a recipe names."""
    found: Loss = LOSSES.get(name)
    return found
