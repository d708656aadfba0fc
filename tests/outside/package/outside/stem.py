"""A freeze mode: the first layer is trained."""

from torch import nn

from sweep.backbones.freeze.base import FreezeMode
from sweep.space.registries import FREEZE_MODES


class Stem(FreezeMode):
    """The head and the first layer that has parameters."""

    trains = "the head and the first layer"

    def trainable(self, trunk: nn.Module, argument: str) -> set[str]:
        """Return the parameters of the layer that holds the first of all."""
        names = [name for name, _ in trunk.named_parameters()]
        layer = names[0].rpartition(".")[0]
        return {name for name in names if name.rpartition(".")[0] == layer}


STEM = Stem()
FREEZE_MODES.register("stem", STEM)
