"""`frozen`: the head alone is trained, on the outputs of the trunk as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.backbones.freeze.base import FreezeMode
from sweep.space.registries import FREEZE_MODES

if TYPE_CHECKING:
    from torch import nn


class Frozen(FreezeMode):
    """A linear probe."""

    trains = "the head alone"
    trunk_is_frozen = True

    def trainable(self, trunk: nn.Module, argument: str) -> set[str]:
        """Return nothing."""
        return set()


FREEZE_MODES.register("frozen", Frozen())
