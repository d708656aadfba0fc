"""`full`: everything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.backbones.freeze.base import FreezeMode
from sweep.space.registries import FREEZE_MODES

if TYPE_CHECKING:
    from torch import nn


class Full(FreezeMode):
    """Fine-tuning of the whole network."""

    trains = "everything"

    def trainable(self, trunk: nn.Module, argument: str) -> set[str]:
        """Return every parameter."""
        return {name for name, _ in trunk.named_parameters()}


FREEZE_MODES.register("full", Full())
