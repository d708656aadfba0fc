"""Work that does not depend on the day: floating-point operations of a network, counted by torch.

Counted on torch's meta device, where operations have shapes and no numbers, so that it takes
neither weights nor time. A multiplication and an addition are two operations.
"""

from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from sweep.backbones import bare_network
from sweep.freeze import freeze
from sweep.space import BackboneSpec

_IMAGES = 2  # of a step, as batch norm cannot train on one


@lru_cache
def forward_flops(backbone: BackboneSpec, size: int) -> float:
    """Return the floating-point operations of one image's forward pass through the trunk."""
    trunk = bare_network(backbone, size, 2).trunk.eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        trunk(torch.zeros(1, 3, size, size, device="meta"))
    return float(counter.get_total_flops())


@lru_cache
def step_flops(backbone: BackboneSpec, size: int, mode: str) -> float:
    """Return those of one image in a training step: forward, and backward as far as it learns."""
    network = bare_network(backbone, size, 2)
    freeze(network, mode)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(_IMAGES, 3, size, size, device="meta")).sum().backward()
    return float(counter.get_total_flops()) / _IMAGES


def head_flops(features: int, classes: int) -> tuple[float, float]:
    """Return those of one sample through a linear head: forward alone, and a training step."""
    forward = 2.0 * features * classes
    return forward, 2 * forward
