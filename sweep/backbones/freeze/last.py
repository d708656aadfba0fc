"""`last:k`: the last k blocks of the trunk are trained, with the norms after them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sweep.backbones.freeze.base import FreezeMode
from sweep.errors import BackboneError
from sweep.space.registries import FREEZE_MODES

if TYPE_CHECKING:
    from torch import nn
    from torch.nn import Parameter


class Last(FreezeMode):
    """The head and the last blocks of the trunk."""

    form = "last:k"
    trains = "the head and the last k blocks of the trunk, with the norms after them"

    def check(self, argument: str) -> bool:
        """Tell whether the argument is a number of blocks."""
        return re.fullmatch(r"[1-9]\d*", argument) is not None

    def trainable(self, trunk: nn.Module, argument: str) -> set[str]:
        """Return the parameters from the k-th last block that holds a matrix on."""
        count, blocks = int(argument), _blocks(trunk)
        holding_weights = [i for i, block in enumerate(blocks) if _has_matrix(block)]
        if count > len(holding_weights):
            raise BackboneError(
                f"freeze mode last:{count}: {type(trunk).__name__} has {len(holding_weights)} "
                f"blocks; use last:1 to last:{len(holding_weights)}, or full"
            )
        first = holding_weights[-count]
        return {name for block in blocks[first:] for name, _ in block}


def _blocks(trunk: nn.Module) -> list[list[tuple[str, Parameter]]]:
    """Return the trunk's parameters by depth, as timm's own layer-wise tools group them."""
    from timm.models import group_parameters

    group_matcher = getattr(trunk, "group_matcher", None)
    if group_matcher is None:
        raise BackboneError(
            f"freeze mode last:k: nothing says the depth of {type(trunk).__name__}'s layers, as "
            "timm's group_matcher does; use frozen, full, norm or bias"
        )
    parameters = dict(trunk.named_parameters())
    groups = group_parameters(trunk, group_matcher(coarse=False))
    return [[(name, parameters[name]) for name in groups[depth]] for depth in sorted(groups)]


def _has_matrix(block: list[tuple[str, Parameter]]) -> bool:
    return any(parameter.ndim >= 2 for _, parameter in block)


FREEZE_MODES.register("last", Last())
