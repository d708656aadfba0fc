"""`bias`: the biases are trained (BitFit, Ben Zaken et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.backbones.freeze.base import FreezeMode
from sweep.space.registries import FREEZE_MODES

if TYPE_CHECKING:
    from torch import nn


class Bias(FreezeMode):
    """The head and every bias of the trunk."""

    trains = "the head and every bias of the trunk"

    def trainable(self, trunk: nn.Module, argument: str) -> set[str]:
        """Return the parameters that are called bias."""
        names = [name for name, _ in trunk.named_parameters()]
        return {name for name in names if name.rpartition(".")[2].endswith("bias")}


FREEZE_MODES.register("bias", Bias())
