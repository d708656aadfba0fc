"""`norm`: the scale and shift of every norm layer are trained (Frankle et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.backbones.freeze.base import FreezeMode
from sweep.errors import BackboneError
from sweep.space.registries import FREEZE_MODES

if TYPE_CHECKING:
    from torch import nn


class Norm(FreezeMode):
    """The head and the norm layers of the trunk."""

    trains = "the head and the scale and shift of every norm layer"

    def trainable(self, trunk: nn.Module, argument: str) -> set[str]:
        """Return the parameters of layers whose class says that they are norms.

        By name, as timm brings norm classes of its own that share no base with torch's.
        """
        found = {
            f"{prefix}.{name}" if prefix else name
            for prefix, module in trunk.named_modules()
            if "norm" in type(module).__name__.lower()
            for name, parameter in module.named_parameters(recurse=False)
            if parameter.ndim <= 1
        }
        if not found:
            raise BackboneError(
                f"freeze mode norm: {type(trunk).__name__} has no norm layers; use frozen, bias, "
                "last:1 or full"
            )
        return found


FREEZE_MODES.register("norm", Norm())
