"""Low-rank updates of a network's matrices: added, trained beside them, and merged (LoRA)."""

import math

from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRankUpdate(nn.Module):
    """Turns a weight W, (O, I) or (O, I, 1, 1), into W + B A.

    As a parametrisation of the weight it reaches whatever reads it, also where a model does not
    call the layer. A is initialised as a linear layer is, B as 0, as in Hu et al. 2022 (alpha = r).
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight.shape[:2]
        self.down_RI = nn.Parameter(weight.new_empty(rank, inputs))
        self.up_OR = nn.Parameter(weight.new_zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down_RI, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight."""
        return weight + (self.up_OR @ self.down_RI).view_as(weight)


def add_low_rank(trunk: nn.Module, rank: int) -> int:
    """Give each linear layer and each convolution of 1x1 an update; return how many there are."""
    layers = [module for module in trunk.modules() if _is_matrix(module)]
    for layer in layers:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        parametrize.register_parametrization(layer, "weight", LowRankUpdate(weight, rank))
    return len(layers)


def low_rank_parameters(trunk: nn.Module) -> set[str]:
    """Return the names of the updates' parameters."""
    return {
        f"{prefix}.{name}"
        for prefix, module in trunk.named_modules()
        if isinstance(module, LowRankUpdate)
        for name, _ in module.named_parameters()
    }


def merged_state(network: nn.Module) -> dict[str, Tensor] | None:
    """Return a network's state with the updates as a part of the weights; None if it has none."""
    modules = network.named_modules()
    updated = [name for name, item in modules if parametrize.is_parametrized(item, "weight")]
    if not updated:
        return None
    state = {n: t for n, t in network.state_dict().items() if ".parametrizations." not in n}
    for name in updated:
        weight = network.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        state[f"{name}.weight"] = weight.detach()
    return state


def _is_matrix(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)
