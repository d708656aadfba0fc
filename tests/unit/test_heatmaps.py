"""Where a network looks: the maps are what their papers say, and the network stays as it was."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sweep.backbones.backbone import Network, load_backbone
from sweep.space.backbone import BackboneSpec
from sweep.train.features import normalise
from sweep.train.heatmaps import heat_maps

pytest.importorskip("captum", reason="needs the extra sweep[heatmaps]")

SIDE = 64
SWIN = {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4}
CONVOLUTIONS = {"name": "b", "model": "test_resnet", "weights": "none"}
WINDOWS = {"name": "b", "model": "swin_tiny_patch4_window7_224", "weights": "none", "kwargs": SWIN}
ATTENTION = {"name": "b", "model": "test_vit", "weights": "none"}


def kept(document: dict[str, Any]) -> Any:
    """Return as much of a kept model as heat maps need."""
    backbone = load_backbone(BackboneSpec.model_validate(document), SIDE, None)
    network = Network(backbone.trunk, backbone.features, 3).eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(network.head.weight)
    return SimpleNamespace(
        network=network, preprocessing=backbone.preprocessing, image_size=backbone.image_size
    )


def pictures() -> Any:
    return np.random.default_rng(0).integers(0, 255, (2, SIDE, SIDE, 3), dtype=np.uint8)


def scaled(maps_BGG: Tensor) -> Tensor:
    low, high = maps_BGG.amin((1, 2), keepdim=True), maps_BGG.amax((1, 2), keepdim=True)
    return (maps_BGG - low) / (high - low)  # NaN where no part speaks for the class


def grad_cam(model: Any, classes: list[int], layer: torch.nn.Module, channels: int) -> Tensor:
    """Return Grad-CAM by its definition, at the size of the pictures."""
    kept_maps: list[Tensor] = []

    def note(_: object, __: object, output: Tensor) -> None:
        output.retain_grad()
        kept_maps.append(output)

    hook = layer.register_forward_hook(note)
    inputs = normalise(torch.from_numpy(pictures()), model.preprocessing)
    logits = model.network(inputs.clone())
    hook.remove()
    logits[range(2), classes].sum().backward()
    (maps,) = kept_maps
    activations, gradients = maps.movedim(channels, 1), maps.grad.movedim(channels, 1)
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    found = (weights * activations).sum(dim=1).relu().detach()
    resized = torch.nn.functional.interpolate(found[:, None], (SIDE, SIDE), mode="bilinear")
    maps = scaled(resized[:, 0])
    assert not maps.isnan().all()
    return maps


def test_grad_cam_of_a_convolutional_network_is_its_definition() -> None:
    model = kept(CONVOLUTIONS)
    expected = grad_cam(model, [0, 2], model.network.trunk.layer4, channels=1)
    assert torch.allclose(heat_maps(model, pictures(), [0, 2]), expected, atol=1e-4, equal_nan=True)


def test_where_no_part_of_a_picture_speaks_for_the_class_there_is_no_map() -> None:
    model = kept(CONVOLUTIONS)
    with torch.no_grad():
        model.network.head.weight[0], model.network.head.weight[2] = -1, 1  # of maps above 0
    nothing, something = heat_maps(model, pictures(), [0, 2])
    assert nothing.isnan().all()
    assert (something.amin(), something.amax()) == (0, 1)


def test_a_network_of_windows_has_grad_cam_too_and_stays_as_it_was() -> None:
    model = kept(WINDOWS)
    inputs = normalise(torch.from_numpy(pictures()), model.preprocessing)
    before, names = model.network(inputs), [name for name, _ in model.network.named_modules()]
    expected = grad_cam(model, [1, 2], model.network.trunk.norm, channels=3)
    found = heat_maps(model, pictures(), [1, 2])
    assert found.shape == (2, SIDE, SIDE)
    assert torch.allclose(found, expected, atol=1e-4, equal_nan=True)
    assert torch.equal(model.network(inputs), before)
    assert [name for name, _ in model.network.named_modules()] == names


def test_a_transformer_has_attention_rollout_which_knows_no_class() -> None:
    model = kept(ATTENTION)
    one, other = heat_maps(model, pictures(), [0, 0]), heat_maps(model, pictures(), [1, 2])
    assert one.shape == (2, SIDE, SIDE)
    assert torch.equal(one, other)
    assert one.amin() == 0
    assert one.amax() == 1
