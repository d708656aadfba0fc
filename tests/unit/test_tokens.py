"""Features of vision transformers, against DINOv2's own construction."""

import copy

import pytest
import torch
from torch import Tensor, nn

from sweep.backbones.backbone import bare_network, load_backbone
from sweep.errors import BackboneError
from sweep.space.backbone import BackboneSpec
from sweep.train.flops import forward_flops

SIZE = 56
KWARGS = {"embed_dim": 32, "depth": 5, "num_heads": 2}


def spec(features: str | None, model: str = "vit_small_patch14_dinov2") -> BackboneSpec:
    entry = {"name": "b", "model": model, "weights": "none", "kwargs": KWARGS}
    return BackboneSpec.model_validate({**entry, "features": features})


def of_dinov2(trunk: nn.Module, images: Tensor, blocks: int, average: bool) -> Tensor:
    """Compute DINOv2's `create_linear_input` on `get_intermediate_layers(norm=True)`."""
    tokens = trunk.norm_pre(trunk._pos_embed(trunk.patch_embed(images)))  # type: ignore[operator]
    outputs = []
    for block in trunk.blocks:  # type: ignore[union-attr]
        tokens = block(tokens)
        outputs.append(trunk.norm(tokens))  # type: ignore[operator]
    prefix = int(trunk.num_prefix_tokens)  # type: ignore[arg-type]
    parts = [item[:, 0] for item in outputs[len(outputs) - blocks :]]
    if average:
        parts.append(outputs[-1][:, prefix:].mean(dim=1))
    return torch.cat(parts, dim=-1)


@pytest.mark.parametrize("model", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
@pytest.mark.parametrize(
    ("features", "blocks", "average"),
    [("cls", 1, False), ("mean", 0, True), ("cls+mean", 1, True), ("last4", 4, False),
     ("last4+mean", 4, True)],
)  # fmt: skip
@torch.inference_mode()
def test_features_are_those_of_dinov2(
    model: str, features: str, blocks: int, average: bool
) -> None:
    backbone = load_backbone(spec(features, model), SIZE, None)
    images = torch.randn(3, 3, SIZE, SIZE)
    wanted = of_dinov2(backbone.trunk, images, blocks, average)
    assert torch.allclose(backbone.trunk(images), wanted, atol=1e-6)
    assert backbone.features == wanted.shape[1] == 32 * (blocks + average)


@torch.inference_mode()
def test_the_default_of_dinov2_is_its_class_token() -> None:
    images = torch.randn(1, 3, SIZE, SIZE)
    own, cls = (load_backbone(spec(name), SIZE, None).trunk(images) for name in (None, "cls"))
    assert torch.allclose(own, cls, atol=1e-6)


@torch.inference_mode()
def test_a_network_of_its_own_gives_the_same_features_and_keeps_the_names() -> None:
    backbone = load_backbone(spec("last4"), SIZE, None)
    network = backbone.network(2, 0)
    images = torch.randn(1, 3, SIZE, SIZE)
    assert torch.equal(network.trunk(images), backbone.trunk(images))
    with torch.no_grad():
        next(network.trunk.parameters()).add_(1)
    assert not torch.equal(network.trunk(images), backbone.trunk(images))
    plain = load_backbone(spec(None), SIZE, None)
    assert network.trunk.state_dict().keys() == plain.trunk.state_dict().keys()
    assert copy.deepcopy(network).head.in_features == 4 * 32


def test_plans_know_the_length_without_weights() -> None:
    assert bare_network(spec("last4+mean"), SIZE, 2).head.in_features == 5 * 32
    assert forward_flops(spec("last4"), SIZE) > 0


@pytest.mark.parametrize(
    ("features", "model", "said"),
    [
        ("cls", "resnet18", "cls is for vision transformers (resnet18); allowed are pool"),
        ("pool", "vit_small_patch14_dinov2", "pool is for networks of convolutions"),
        ("cls", "vit_base_patch16_siglip_224", "has no class token"),
        ("last4", "test_vit3", "has 3 blocks"),
    ],
)
def test_features_that_a_network_has_not_are_refused(features: str, model: str, said: str) -> None:
    entry = {"name": "b", "model": model, "weights": "none", "features": features}
    if model == "test_vit3":
        entry |= {"model": "test_vit", "kwargs": {"depth": 3}}
    with pytest.raises(BackboneError) as error:
        bare_network(BackboneSpec.model_validate(entry), 224 if "siglip" in model else 112, 2)
    assert said in str(error.value)
