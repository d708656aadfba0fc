"""Convolutions on feature maps smaller than their kernel, computed faster on a CPU.

At 28 or 48 pixels the last maps of a network have 1 to 3 pixels a side. Most taps of a kernel of
5 x 5 then meet nothing but padding, and for depthwise convolutions oneDNN falls back to a
reference implementation of the backward pass: benchmarks/small_maps.py prints how slow it is.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class SmallMapConv2d(nn.Conv2d):
    """A convolution that leaves out the taps of its kernel which meet padding alone.

    A depthwise one has its padding written into the map besides. Gives what nn.Conv2d gives, and
    the same gradients; without gradients, and on larger maps, it is nn.Conv2d.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of maps (B, I, H, W): (B, O, H', W')."""
        sizes = zip(input.shape[2:], self.kernel_size, strict=True)
        smaller = any(size < taps for size, taps in sizes)
        if not smaller or not torch.is_grad_enabled():
            return super().forward(input)
        (top, bottom), rows = self._reach(0, input.shape[2])
        (left, right), columns = self._reach(1, input.shape[3])
        weight = self.weight[:, :, rows, columns]
        depthwise = self.groups == self.in_channels
        if weight.shape[2:] == self.kernel_size and not depthwise:
            return super().forward(input)
        padded = functional.pad(input, (left, right, top, bottom))
        return functional.conv2d(padded, weight, self.bias, self.stride, groups=self.groups)

    def _reach(self, axis: int, size: int) -> tuple[tuple[int, int], slice]:
        """Return the padding before and after an axis, and the taps of which one meets the map."""
        padding, taps, stride = self.padding[axis], self.kernel_size[axis], self.stride[axis]
        assert isinstance(padding, int)
        steps = (size + 2 * padding - taps) // stride
        first, end = max(0, padding - steps * stride), min(taps, size + padding)
        before = padding - first
        return (before, steps * stride + end - first - before - size), slice(first, end)


def use_small_maps(network: nn.Module) -> None:
    """Let the convolutions of a network, on a CPU, be SmallMapConv2d; its state is the same."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_suitable(module):
            module.__class__ = SmallMapConv2d  # keeps parameters and hooks, as parametrize does


def _is_suitable(layer: nn.Conv2d) -> bool:
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros" or layer.dilation != (1, 1):
        return False
    narrow = (p < k for p, k in zip(layer.padding, layer.kernel_size, strict=True))
    return any(layer.padding) and all(narrow)  # else a kernel may meet padding alone
