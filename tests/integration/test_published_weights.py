"""Weights as other libraries publish them: a random network of theirs, and its features here."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sweep.backbones.backbone import Backbone, forget_backbones, load_backbone
from sweep.space.backbone import BackboneSpec

pytestmark = pytest.mark.integration

WIDTH, DEPTH, HEADS = 64, 3, 2
SHAPE = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}


@pytest.fixture(autouse=True)
def quiet_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    forget_backbones()


def config(name: str, size: int, patch: int, **more: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
    return getattr(transformers, name)(**shape, image_size=size, patch_size=patch, **more)


def published(model: Any, folder: Path) -> Any:
    """Give every parameter of a network random values, and save it as its library does."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    model.save_pretrained(folder)
    return model.eval()


def loaded(
    folder: Path, model: str, size: int, file: str = "model.safetensors", **kwargs: Any
) -> Backbone:
    entry = {"name": "b", "model": model, "weights": file, "kwargs": kwargs}
    return load_backbone(BackboneSpec.model_validate(entry), size, folder)


def images(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def features(network: nn.Module, size: int) -> Tensor:
    with torch.inference_mode():
        found: Tensor = network(images(size))
    return found


@torch.inference_mode()
def test_dinov2_of_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = published(transformers.Dinov2Model(config("Dinov2Config", 56, 14)), tmp_path)
    found = loaded(tmp_path, "vit_small_patch14_dinov2", 56, **SHAPE)
    wanted = model(images(56)).last_hidden_state[:, 0]
    assert torch.allclose(features(found.trunk, 56), wanted, atol=1e-5)


@torch.inference_mode()
def test_dinov2_with_registers_of_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    of = config("Dinov2WithRegistersConfig", 56, 14)
    model = published(transformers.Dinov2WithRegistersModel(of), tmp_path)
    found = loaded(tmp_path, "vit_small_patch14_reg4_dinov2", 56, **SHAPE)
    wanted = model(images(56)).last_hidden_state[:, 0]
    assert torch.allclose(features(found.trunk, 56), wanted, atol=1e-5)


@torch.inference_mode()
def test_dinov2_behind_a_classifier_of_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    of = config("Dinov2Config", 56, 14)
    model = published(transformers.Dinov2ForImageClassification(of), tmp_path)
    found = loaded(tmp_path, "vit_small_patch14_dinov2", 56, **SHAPE)
    wanted = model.dinov2(images(56)).last_hidden_state[:, 0]
    assert torch.allclose(features(found.trunk, 56), wanted, atol=1e-5)
    assert "classifier" in found.notes[0]


@torch.inference_mode()
@pytest.mark.parametrize("biased", [False, True])
def test_dinov3_of_hugging_face(tmp_path: Path, biased: bool) -> None:
    transformers = pytest.importorskip("transformers")
    of = config("DINOv3ViTConfig", 64, 16, num_register_tokens=4, intermediate_size=4 * WIDTH)
    model = published(transformers.DINOv3ViTModel(of), tmp_path)
    if not biased:
        for name, parameter in model.named_parameters():
            if name.endswith(("q_proj.bias", "v_proj.bias")):
                parameter.zero_()
        model.save_pretrained(tmp_path)
    timms = f"vit_small_patch16_dinov3{'_qkvb' if biased else ''}"
    found = loaded(tmp_path, timms, 64, **SHAPE)
    wanted = model(images(64)).last_hidden_state
    assert torch.allclose(found.trunk.forward_features(images(64)), wanted, atol=1e-5)


@torch.inference_mode()
def test_a_vit_of_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    of = config("ViTConfig", 64, 16, intermediate_size=4 * WIDTH)
    model = published(transformers.ViTModel(of), tmp_path)
    found = loaded(tmp_path, "vit_small_patch16_224", 64, **SHAPE)
    wanted = model(images(64)).last_hidden_state[:, 0]
    assert torch.allclose(features(found.trunk, 64), wanted, atol=1e-5)
    assert found.notes == ("backbone b: left out of model.safetensors: pooler (2 entries)",)


@torch.inference_mode()
def test_a_masked_autoencoder_of_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    decoder = {
        f"decoder_{k}": v
        for k, v in {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}.items()
    }
    of = config("ViTMAEConfig", 64, 16, intermediate_size=4 * WIDTH, mask_ratio=0.0, **decoder)
    model = published(transformers.ViTMAEForPreTraining(of), tmp_path)
    found = loaded(tmp_path, "vit_small_patch16_224", 64, **SHAPE)
    order = torch.arange(16).float().repeat(2, 1)
    wanted = model.vit(images(64), noise=order).last_hidden_state[:, 0]
    assert torch.allclose(features(found.trunk, 64), wanted, atol=1e-5)
    assert "decoder" in found.notes[0]


@torch.inference_mode()
def test_siglip_of_hugging_face_as_medsiglip(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    of = config("SiglipVisionConfig", 56, 14, intermediate_size=4 * WIDTH)
    model = published(transformers.SiglipVisionModel(of), tmp_path)
    found = loaded(
        tmp_path, "vit_so400m_patch14_siglip_384", 56, mlp_ratio=4, act_layer="gelu_tanh", **SHAPE
    )
    wanted = model(images(56)).pooler_output
    assert torch.allclose(features(found.trunk, 56), wanted, atol=1e-5)


@torch.inference_mode()
def test_clip_of_hugging_face_with_its_text_tower(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    vision = config("CLIPVisionConfig", 64, 16, intermediate_size=4 * WIDTH, projection_dim=32)
    text = transformers.CLIPTextConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=50, projection_dim=32,
    )  # fmt: skip
    both = transformers.CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=32
    )
    model = published(transformers.CLIPModel(both), tmp_path)
    found = loaded(tmp_path, "vit_base_patch16_clip_quickgelu_224", 64, **SHAPE)
    wanted = model.vision_model(images(64)).pooler_output
    assert torch.allclose(features(found.trunk, 64), wanted, atol=1e-5)
    assert "text_model" in found.notes[0]


@torch.inference_mode()
def test_open_clip_with_a_tower_of_timm_as_biomedclip(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    text = {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1}
    vision = {
        "timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "",
        "timm_proj": "linear", "image_size": 160,
    }  # fmt: skip
    model = open_clip.model.CLIP(32, vision, text).eval()
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    found = loaded(tmp_path, "test_vit", 160, "open_clip_pytorch_model.bin")
    wanted = model.visual.trunk(images(160))
    assert torch.allclose(features(found.trunk, 160), wanted, atol=1e-5)
    assert "left out of open_clip_pytorch_model.bin" in found.notes[0]


@torch.inference_mode()
def test_open_clip_with_its_own_tower(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    text = {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1}
    vision = {"image_size": 64, "layers": DEPTH, "width": WIDTH, "head_width": 32, "patch_size": 16}
    model = open_clip.model.CLIP(32, vision, text).eval()
    torch.save({"state_dict": {f"module.{n}": t for n, t in model.state_dict().items()}},
               tmp_path / "clip.pt")  # fmt: skip
    found = loaded(tmp_path, "vit_base_patch16_clip_224", 64, "clip.pt", **SHAPE)
    model.visual.proj = None
    assert torch.allclose(features(found.trunk, 64), model.visual(images(64)), atol=1e-5)
