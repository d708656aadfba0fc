"""Squared earth mover's distance (Hou, Yu and Samaras 2016), for ordered classes."""

import torch
from torch import Tensor

from sweep.space.registries import LOSSES
from sweep.train.losses.base import Loss


class EarthMover(Loss):
    """The squared distance of the cumulated probabilities from those of the right class.

    A probability costs the more, the further its class is from the right one.
    """

    targets = frozenset({"ordinal"})

    def of_each(self, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Return the loss of each sample."""
        cumulated_NC = logits_NC.softmax(dim=1).cumsum(dim=1)
        places_C = torch.arange(logits_NC.shape[1], device=logits_NC.device)
        right_NC = (places_C >= labels_N[:, None]).to(logits_NC.dtype)
        return (cumulated_NC - right_NC).square().sum(dim=1)


LOSSES.register("earth_mover", EarthMover())
