"""A network in a freeze mode: which of its parameters are trained, and the state of its layers."""

from functools import lru_cache

from torch import nn

from sweep.backbones.backbone import Network, bare_network
from sweep.space.backbone import BackboneSpec
from sweep.space.freeze import freeze_mode
from sweep.space.names import is_frozen


def freeze(network: Network, mode: str) -> None:
    """Let exactly the parameters of a freeze mode be trained, and put the layers in their state.

    A frozen layer is in eval mode, so that its batch-norm statistics do not move.

    Raises BackboneError if the mode cannot be had with this network.
    """
    found, argument = freeze_mode(mode)
    found.adapt(network.trunk, argument)
    names = trainable_parameters(network.trunk, mode)
    for name, parameter in network.trunk.named_parameters():
        parameter.requires_grad_(name in names)
    set_training(network)


def set_training(network: Network) -> None:
    """Put a frozen network in training state: layers that are trained train, others evaluate."""
    if all(parameter.requires_grad for parameter in network.parameters()):
        network.train()
        return
    network.eval()
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if own and all(parameter.requires_grad for parameter in own):
            module.training = True


def trainable_parameters(trunk: nn.Module, mode: str) -> set[str]:
    """Return the names of an adapted trunk's parameters that are trained in a freeze mode."""
    found, argument = freeze_mode(mode)
    names: set[str] = found.trainable(trunk, argument)
    return names


def count_trainable(network: Network, mode: str) -> int:
    """Return how many numbers of a network are trained in a freeze mode; the network is frozen."""
    freeze(network, mode)
    trunk = sum(item.numel() for item in network.trunk.parameters() if item.requires_grad)
    if not freeze_mode(mode)[0].trains_head:
        return trunk
    return trunk + sum(item.numel() for item in network.head.parameters())


def head_parameters(mode: str, features: int, classes: int) -> int:
    """Return how many numbers of a mode's head are trained."""
    return (features + 1) * classes if freeze_mode(mode)[0].trains_head else 0


@lru_cache
def learnable_parameters(
    spec: BackboneSpec, image_size: int, mode: str, features: int, classes: int
) -> int:
    """Return how many numbers of a backbone and its head are trained in a freeze mode.

    Raises BackboneError if the mode cannot be had with this network.
    """
    if is_frozen(mode):
        return head_parameters(mode, features, classes)
    return count_trainable(bare_network(spec, image_size, classes), mode)
