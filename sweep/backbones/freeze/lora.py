"""`lora:r`: matrices of rank r are trained beside those of the trunk (LoRA, Hu et al. 2022)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sweep.backbones.freeze.base import FreezeMode
from sweep.errors import BackboneError
from sweep.space.registries import FREEZE_MODES

if TYPE_CHECKING:
    from torch import nn


class LoRA(FreezeMode):
    """The head, and for each linear layer of the trunk and each convolution of 1x1 two factors.

    The layer's weight W becomes W + B A, with A of r rows and B of r columns, which begins as 0.
    """

    form = "lora:r"
    trains = "the head and matrices of rank r beside those of the trunk"

    def check(self, argument: str) -> bool:
        """Tell whether the argument is a rank."""
        return re.fullmatch(r"[1-9]\d*", argument) is not None

    def adapt(self, trunk: nn.Module, argument: str) -> None:
        """Give each matrix its two factors."""
        from sweep.backbones.low_rank import add_low_rank

        if not add_low_rank(trunk, int(argument)):
            raise BackboneError(
                f"freeze mode lora:{argument}: {type(trunk).__name__} has no linear layers and no "
                "convolutions of 1x1; use frozen, last:1 or full"
            )

    def trainable(self, trunk: nn.Module, argument: str) -> set[str]:
        """Return the names of the factors."""
        from sweep.backbones.low_rank import low_rank_parameters

        return low_rank_parameters(trunk)


FREEZE_MODES.register("lora", LoRA())
