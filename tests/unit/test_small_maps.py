"""Convolutions on maps smaller than their kernel are nn.Conv2d, computed faster."""

import copy

import pytest
import timm
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from sweep.backbones.small_maps import SmallMapConv2d, use_small_maps

axes = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 7), st.integers(0, 6))


@given(rows=axes, columns=axes, groups=st.sampled_from([1, 2, 4]), bias=st.booleans())
def test_outputs_and_gradients_are_those_of_the_plain_convolution(
    rows: tuple[int, int, int, int], columns: tuple[int, int, int, int], groups: int, bias: bool
) -> None:
    size, kernel, stride, padding = zip(rows, columns, strict=True)
    fits = (n + 2 * p >= k > p for n, k, p in zip(size, kernel, padding, strict=True))
    assume(all(fits))
    plain = nn.Conv2d(4, 4, kernel, stride, padding, groups=groups, bias=bias)
    own = copy.deepcopy(plain)
    own.__class__ = SmallMapConv2d
    maps = torch.randn(3, 4, *size)
    for ours, theirs in zip(computed(own, maps), computed(plain, maps), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_network_has_the_gradients_of_the_plain_one_and_the_same_state() -> None:
    torch.manual_seed(0)
    plain = timm.create_model("tf_efficientnet_lite0", num_classes=2).double()
    own = copy.deepcopy(plain)
    use_small_maps(own)
    images = torch.randn(4, 3, 48, 48, dtype=torch.float64)
    for ours, theirs in zip(computed(own, images), computed(plain, images), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert list(own.state_dict()) == list(plain.state_dict())


def test_predictions_are_computed_by_the_plain_convolution() -> None:
    plain = nn.Conv2d(8, 8, 5, padding=2, groups=8)
    own = copy.deepcopy(plain)
    own.__class__ = SmallMapConv2d
    maps = torch.randn(2, 8, 2, 2)
    with torch.inference_mode():
        assert torch.equal(own(maps), plain(maps))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=3),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        timm.layers.Conv2dSame(4, 4, 3, stride=2),
    ],
    ids=["1x1", "named padding", "wide padding", "dilated", "reflected", "of timm"],
)
def test_other_convolutions_stay_as_they_are(layer: nn.Module) -> None:
    before = type(layer)
    use_small_maps(layer)
    assert type(layer) is before


def computed(network: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Return the outputs and the gradients of the inputs and of all parameters."""
    inputs = inputs.clone().requires_grad_()
    outputs = network(inputs)
    outputs.square().mean().backward()
    gradients = [inputs, *network.parameters()]
    return [outputs.detach(), *(item.grad for item in gradients if item.grad is not None)]
