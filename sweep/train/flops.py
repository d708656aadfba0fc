"""Work that does not depend on the day: floating-point operations of a network, counted by torch.

Counted on torch's meta device, where operations have shapes and no numbers, so that it takes
neither weights nor time. A multiplication and an addition are two operations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from sweep.backbones.backbone import bare_network
from sweep.backbones.trainable import freeze
from sweep.errors import BackboneError
from sweep.space.backbone import BackboneSpec
from sweep.space.freeze import freeze_mode
from sweep.space.model import Cell


@dataclass(frozen=True)
class ImageFlops:
    """The floating-point operations that one image costs a cell.

    Attributes:
        forward: of a forward pass through the trunk.
        step: of a training step; 0 where no part of the trunk learns.
    """

    forward: float
    step: float


_IMAGES = 2  # batch size of a counted step, as batch norm cannot train on one image


@lru_cache
def forward_flops(backbone: BackboneSpec, size: int) -> float:
    """Return the floating-point operations of one image's forward pass through the trunk.

    Raises BackboneError if the network cannot take images of that size.
    """
    # The counter asks for the gradient of a parameter that a layer is called with, if it has one.
    network = bare_network(backbone, size, 2).eval().requires_grad_(False)
    _simplify(network)
    with (
        _counter() as counter,
        torch.no_grad(),
        _naming_the_model(backbone, size),
    ):
        output = network.trunk(torch.zeros(1, 3, size, size, device="meta"))
    if output.ndim != 2:
        raise BackboneError(
            f"backbone {backbone.name}: {backbone.model} gives {output.ndim}-dimensional features, "
            "not one vector an image; it cannot be used here"
        )
    return float(counter.get_total_flops())


@lru_cache
def step_flops(backbone: BackboneSpec, size: int, mode: str) -> float:
    """Return those of one image in a training step: forward, and backward as far as it learns.

    Raises BackboneError if the network cannot be trained on images of that size.
    """
    network = bare_network(backbone, size, 2)
    freeze(network, mode)
    _simplify(network)
    with _counter() as counter, _naming_the_model(backbone, size):
        network(torch.zeros(_IMAGES, 3, size, size, device="meta")).sum().backward()
    return float(counter.get_total_flops()) / _IMAGES


def image_flops(cell: Cell, size: int) -> ImageFlops:
    """Return those of one image of a cell; raises BackboneError as the two functions above do."""
    forward = forward_flops(cell.backbone, size)
    return ImageFlops(forward, 0.0 if cell.fused else step_flops(cell.backbone, size, cell.freeze))


def _simplify(network: nn.Module) -> None:
    """Let batch norms add their parameters and do no more: what they do is not counted.

    On the meta device torch computes a batch norm by dozens of operations in Python, which takes
    several times as long as all else.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = partial(_scaled, module)  # type: ignore[method-assign]


def _scaled(norm: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    learned = [item[:, None, None] for item in (norm.weight, norm.bias) if item is not None]
    return sum(learned, maps)


def _counter() -> FlopCounterMode:
    """Return torch's counter, with a count of its own for convolutions of groups.

    torch 2.15 counts the gradient of their weights as if they had one group: for a depthwise
    convolution that is as many times too much as there are channels.
    """
    own = {torch.ops.aten.convolution_backward: _convolution_backward_flops}
    return FlopCounterMode(display=False, custom_mapping=own)


def _convolution_backward_flops(
    gradient: list[int], inputs: list[int], weight: list[int], *others: Any, **_: Any
) -> int:
    """Return the operations of a convolution's gradients; each takes those of its forward pass."""
    transposed, wanted = others[4], others[7]
    forward: int = conv_flop_count(inputs, weight, gradient, transposed=transposed)
    return forward * (bool(wanted[0]) + bool(wanted[1]))


@contextmanager
def _naming_the_model(backbone: BackboneSpec, size: int) -> Iterator[None]:
    """Turn whatever a network of timm raises into a BackboneError that names the backbone."""
    try:
        yield
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise BackboneError(
            f"backbone {backbone.name}: {backbone.model} cannot take image_size {size} "
            f"({type(error).__name__}: {reason}); try 224, or the size the model was trained at"
        ) from None


def head_flops(mode: str, features: int, classes: int, samples: int) -> tuple[float, float]:
    """Return those of one sample through a mode's head: forward alone, and in an epoch of training.

    What fitting an estimator takes depends on its data: see `BatchedEstimator.flops`.

    Args:
        samples: of the training split.
    """
    head = freeze_mode(mode)[0].head
    if head == "nearest_neighbors":
        return 2.0 * features * samples, 0.0
    forward = 2.0 * features * classes
    return forward, 2 * forward if head == "linear" else 0.0
