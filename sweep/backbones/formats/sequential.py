"""A network cut into ``nn.Sequential(*network.children())``, as RadImageNet is published."""

import re

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat
from sweep.space.registries import WEIGHT_FORMATS


class Sequential(WeightFormat):
    """The children have numbers instead of names: ``0.weight``, ``4.0.conv1.weight``."""

    title = "a network without names of its layers"
    sign = r"0\.(?:\w+\.)*weight$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Give each number the name of the trunk's child in that place."""
        children = [name for name, _ in trunk.named_children()]
        found = {}
        for name, tensor in state.items():
            number, _, rest = name.partition(".")
            numbered = re.fullmatch(r"\d+", number) and int(number) < len(children)
            found[f"{children[int(number)]}.{rest}" if numbered else name] = tensor
        return found


WEIGHT_FORMATS.register("sequential", Sequential())
