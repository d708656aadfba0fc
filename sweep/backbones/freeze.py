"""Freeze modes: which parameters of a network learn.

| mode | learns |
|---|---|
| frozen | the head alone |
| full | everything |
| last:k | the head and the last k blocks of the trunk, with the norms after them |
| norm | the head and the scale and shift of every norm layer |
| bias | the head and every bias of the trunk |
"""

from torch import nn
from torch.nn import Parameter

from sweep.backbones.backbone import Network
from sweep.errors import BackboneError


def freeze(network: Network, mode: str) -> None:
    """Let exactly the parameters of a freeze mode learn, and put the layers in their state.

    A frozen layer is in eval mode, so that its batch-norm statistics do not move.

    Raises:
        BackboneError: `mode` is ``last:k`` with more blocks than there are, or ``norm`` and the
            network has no norm layers.
    """
    learning = trunk_parameters(network.trunk, mode)
    for name, parameter in network.trunk.named_parameters():
        parameter.requires_grad_(name in learning)
    set_training(network, mode)


def set_training(network: Network, mode: str) -> None:
    """Put a frozen network in training state: layers that learn train, the others evaluate."""
    network.eval()
    if mode == "full":
        network.train()
        return
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if own and all(parameter.requires_grad for parameter in own):
            module.training = True


def trunk_parameters(trunk: nn.Module, mode: str) -> set[str]:
    """Return the names of the trunk's parameters that learn in a freeze mode."""
    kind, _, count = mode.partition(":")
    names = [name for name, _ in trunk.named_parameters()]
    if kind == "frozen":
        return set()
    if kind == "full":
        return set(names)
    if kind == "bias":
        return {name for name in names if name.rpartition(".")[2].endswith("bias")}
    if kind == "norm":
        found = _norm_parameters(trunk)
        if not found:
            raise BackboneError(
                f"freeze mode norm: {type(trunk).__name__} has no norm layers; use frozen, bias, "
                "last:1 or full"
            )
        return found
    return _last_blocks(trunk, int(count))


def trainable(network: Network, mode: str) -> int:
    """Return how many numbers of a network learn in a freeze mode."""
    names = trunk_parameters(network.trunk, mode)
    trunk = sum(p.numel() for name, p in network.trunk.named_parameters() if name in names)
    return trunk + sum(p.numel() for p in network.head.parameters())


def _norm_parameters(trunk: nn.Module) -> set[str]:
    # By name, as timm brings norm classes of its own that share no base with torch's.
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in trunk.named_modules()
        if "norm" in type(module).__name__.lower()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.ndim <= 1
    }


def _last_blocks(trunk: nn.Module, count: int) -> set[str]:
    blocks = _blocks(trunk)
    holding_weights = [i for i, block in enumerate(blocks) if _has_matrix(block)]
    if count > len(holding_weights):
        raise BackboneError(
            f"freeze mode last:{count}: {type(trunk).__name__} has {len(holding_weights)} blocks; "
            f"use last:1 to last:{len(holding_weights)}, or full"
        )
    first = holding_weights[-count]
    return {name for block in blocks[first:] for name, _ in block}


def _blocks(trunk: nn.Module) -> list[list[tuple[str, Parameter]]]:
    """Return the trunk's parameters by depth, as timm's own layer-wise tools group them."""
    from timm.models import group_parameters

    group_matcher = getattr(trunk, "group_matcher", None)
    if group_matcher is None:
        raise BackboneError(
            f"freeze mode last:k: timm does not say the depth of {type(trunk).__name__}'s layers; "
            "use frozen, full, norm or bias"
        )
    parameters = dict(trunk.named_parameters())
    groups = group_parameters(trunk, group_matcher(coarse=False))
    return [[(name, parameters[name]) for name in groups[depth]] for depth in sorted(groups)]


def _has_matrix(block: list[tuple[str, Parameter]]) -> bool:
    return any(parameter.ndim >= 2 for _, parameter in block)
