"""Weights of torchvision and Hugging Face's networks of stages: random ones, their features."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from sweep.backbones.backbone import forget_backbones, load_backbone
from sweep.errors import BackboneError
from sweep.space.backbone import BackboneSpec

pytestmark = pytest.mark.integration

SIZE = 64


def randomised(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for item in network.parameters():
            item.add_(torch.randn(item.shape) * 0.02)
        for item in network.buffers():
            if item.is_floating_point():
                item.add_(torch.rand(item.shape) * 0.1)
    return network.eval()


def without_classifier(network: Any) -> nn.Module:
    """Cut off the last layer: what is before it are the features."""
    for name in ("head", "heads", "fc", "classifier"):
        last = getattr(network, name, None)
        if isinstance(last, nn.Sequential) and name == "classifier":
            last[-1] = nn.Identity()
        elif last is not None:
            setattr(network, name, nn.Identity())
    return network


def assert_same(
    folder: Path, state: dict[str, Tensor], model: str, features: Callable[[Tensor], Tensor],
    size: int = SIZE, **kwargs: Any,
) -> None:  # fmt: skip
    save_file({n: t.clone().contiguous() for n, t in state.items()}, folder / "w.safetensors")
    forget_backbones()
    entry = {"name": "b", "model": model, "weights": "w.safetensors", "kwargs": kwargs}
    found = load_backbone(BackboneSpec.model_validate(entry), size, folder)
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        wanted = features(images)
        scale = float(wanted.abs().max())
        torch.testing.assert_close(found.trunk(images) / scale, wanted / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("make", "model", "size"),
    [
        (torchvision.models.resnet18, "resnet18", SIZE),
        (torchvision.models.densenet121, "densenet121", SIZE),
        (torchvision.models.convnext_tiny, "convnext_tiny", SIZE),
        (torchvision.models.efficientnet_b0, "efficientnet_b0", SIZE),
        (torchvision.models.efficientnet_b1, "efficientnet_b1", SIZE),
        (torchvision.models.vgg11_bn, "vgg11_bn", 224),
        (torchvision.models.swin_t, "swin_tiny_patch4_window7_224", 224),
        (torchvision.models.vit_b_16, "vit_base_patch16_224", 224),
    ],
)
def test_a_network_of_torchvision(tmp_path: Path, make: Any, model: str, size: int) -> None:
    network = randomised(make())
    state = dict(network.state_dict())
    assert_same(tmp_path, state, model, without_classifier(network), size)


def test_an_efficientnet_with_other_norms_than_timms_is_refused(tmp_path: Path) -> None:
    state = torchvision.models.efficientnet_b5().state_dict()
    with pytest.raises(BackboneError, match="do not fit efficientnet_b5"):
        assert_same(tmp_path, state, "efficientnet_b5", lambda images: images)


@pytest.mark.parametrize("version", ["", "V2"])
def test_a_convnext_of_hugging_face(tmp_path: Path, version: str) -> None:
    transformers = pytest.importorskip("transformers")
    depths, widths = [1, 1, 2, 1], [16, 32, 48, 64]
    # The epsilon of its last norm, 1e-12 as published, moves features by 1e-5.
    config = getattr(transformers, f"ConvNext{version}Config")(
        depths=depths, hidden_sizes=widths, layer_norm_eps=1e-6
    )
    network = randomised(getattr(transformers, f"ConvNext{version}Model")(config))
    assert_same(
        tmp_path, published(network, tmp_path), f"convnext{version.lower()}_tiny",
        lambda images: network(images).pooler_output, depths=depths, dims=widths,
    )  # fmt: skip


def test_a_resnet_of_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(depths=[3, 4, 6, 3])
    network = randomised(transformers.ResNetModel(config))
    assert_same(
        tmp_path, published(network, tmp_path), "resnet50",
        lambda images: network(images).pooler_output.flatten(1),
    )  # fmt: skip


def test_a_swin_of_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.SwinConfig(depths=[1, 2, 1, 1], embed_dim=24, num_heads=[1, 2, 4, 8])
    network = randomised(transformers.SwinModel(config))
    assert_same(
        tmp_path, published(network, tmp_path), "swin_tiny_patch4_window7_224",
        lambda images: network(images).pooler_output, 224,
        depths=[1, 2, 1, 1], embed_dim=24, num_heads=[1, 2, 4, 8],
    )  # fmt: skip


def published(network: Any, folder: Path) -> dict[str, Tensor]:
    """Return the state dict as the library saves it."""
    from safetensors.torch import load_file

    network.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def test_a_network_for_one_channel_is_the_same_on_grey_images(tmp_path: Path) -> None:
    import timm

    network = randomised(timm.create_model("resnet18", num_classes=0, in_chans=1))
    save_file(dict(network.state_dict()), tmp_path / "w.safetensors")
    forget_backbones()
    entry = {"name": "b", "model": "resnet18", "weights": "w.safetensors"}
    found = load_backbone(BackboneSpec.model_validate(entry), SIZE, tmp_path)
    grey = torch.randn(2, 1, SIZE, SIZE)
    with torch.inference_mode():
        wanted = network(grey)
        torch.testing.assert_close(found.trunk(grey.expand(-1, 3, -1, -1)), wanted)
    assert "a third of conv1.weight" in found.notes[0]
