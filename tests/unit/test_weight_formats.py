"""Weights as they are published: each layout gives the features of the network it was made from."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sweep.backbones.backbone import Backbone, forget_backbones, load_backbone
from sweep.backbones.checkpoint import read_checkpoint
from sweep.errors import BackboneError
from sweep.space.backbone import BackboneSpec

State = dict[str, Tensor]


def network(model: str = "test_vit", **kwargs: Any) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = timm.create_model(model, num_classes=0, **kwargs).eval()
    with torch.no_grad():
        for item in made.parameters():
            item.add_(torch.randn(item.shape) * 0.05)
    return made


def load(
    folder: Path, file: str, model: str = "test_vit", size: int = 160, **more: Any
) -> Backbone:
    forget_backbones()
    entry = {"name": "b", "model": model, "weights": file, **more}
    return load_backbone(BackboneSpec.model_validate(entry), size, folder)


def assert_same(found: Backbone, wanted: nn.Module, size: int = 160) -> None:
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        assert torch.allclose(found.trunk(images), wanted(images), atol=1e-5)


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def zeros(*names: str) -> State:
    return {name: torch.zeros(2) for name in names}


LAYOUTS: dict[str, Callable[[State], dict[str, Any]]] = {
    "plain": lambda state: state,
    "DistributedDataParallel": lambda state: {"state_dict": prefixed("module.", state)},
    "Lightning": lambda state: {
        "state_dict": {**prefixed("model.backbone.", state), **zeros("model.head.weight")},
        "hyper_parameters": argparse.Namespace(lr=0.1),
        "epoch": 3,
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
    },
    "DINO": lambda state: {
        "student": prefixed("module.backbone.", {n: t + 1 for n, t in state.items()}),
        "teacher": {**prefixed("backbone.", state), **zeros("head.mlp.0.weight")},
        "args": argparse.Namespace(arch="vit_small"),
    },
    "DINOv2's training": lambda state: {
        "teacher": {
            **{f"backbone.{n.replace('blocks.', 'blocks.0.')}": t for n, t in state.items()},
            **zeros("backbone.mask_token", "dino_head.last_layer.weight", "ibot_head.mlp.weight"),
        }
    },
    "MAE": lambda state: {
        "model": {**state, **zeros("mask_token", "decoder_embed.weight", "decoder_pred.bias")},
        "optimizer": {"state": {}},
        "args": argparse.Namespace(model="mae_vit_large_patch16"),
    },
    "open_clip": lambda state: {
        **prefixed("visual.trunk.", state),
        **zeros("visual.head.proj.weight", "text.transformer.weight", "logit_scale"),
    },
    "moving average": lambda state: {
        "model": {n: t + 1 for n, t in state.items()}, "model_ema": state
    },
    "MoCo": lambda state: {
        "state_dict": {
            **prefixed("module.momentum_encoder.", {n: t + 1 for n, t in state.items()}),
            **prefixed("module.base_encoder.", state),
        }
    },
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("suffix", [".pth", ".bin"])
def test_a_published_layout_gives_the_same_features(
    tmp_path: Path, layout: str, suffix: str
) -> None:
    wanted = network()
    torch.save(LAYOUTS[layout](dict(wanted.state_dict())), tmp_path / f"w{suffix}")
    assert_same(load(tmp_path, f"w{suffix}"), wanted)


def test_radimagenet_numbers_the_layers_instead_of_naming_them(tmp_path: Path) -> None:
    wanted = network("resnet18")
    children = [name for name, _ in wanted.named_children()]
    state = {}
    for name, tensor in wanted.state_dict().items():
        layer, _, rest = name.partition(".")
        state[f"backbone.{children.index(layer)}.{rest}"] = tensor
    torch.save(state, tmp_path / "ResNet18.pt")
    assert_same(load(tmp_path, "ResNet18.pt", "resnet18", 64), wanted, 64)


def test_uni_has_layer_scales(tmp_path: Path) -> None:
    wanted = network("vit_tiny_patch16_224", init_values=1e-5, img_size=64, depth=2)
    torch.save(wanted.state_dict(), tmp_path / "pytorch_model.bin")
    kwargs = {"init_values": 1e-5, "dynamic_img_size": True, "depth": 2}
    found = load(tmp_path, "pytorch_model.bin", "vit_tiny_patch16_224", 64, kwargs=kwargs)
    assert_same(found, wanted, 64)


def test_retfound_pooled_by_mean_takes_the_last_norm(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save({"model": {**state, **zeros("decoder_embed.weight")}}, tmp_path / "w.pth")
    found = load(tmp_path, "w.pth", kwargs={"global_pool": "avg"})
    assert torch.equal(found.trunk.fc_norm.weight, state["norm.weight"])  # type: ignore[union-attr]


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    torch.save(LAYOUTS["MAE"](dict(network().state_dict())), tmp_path / "w.pth")
    assert load(tmp_path, "w.pth").notes == (
        "backbone b: left out of w.pth: mask_token, decoder_embed, decoder_pred",
    )


def test_another_depth_is_not_left_out(tmp_path: Path) -> None:
    save_file(dict(network("test_vit", depth=8).state_dict()), tmp_path / "w.safetensors")
    with pytest.raises(
        BackboneError, match=r"blocks\.6\.attn\.proj\.bias is not part of the model"
    ):
        load(tmp_path, "w.safetensors")


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/attacked",)


def test_a_checkpoint_that_calls_a_function_is_refused(tmp_path: Path) -> None:
    torch.save({"model": dict(network().state_dict()), "extra": Attack()}, tmp_path / "w.pth")
    with pytest.raises(BackboneError, match=r"it calls posix\.system, which is not run"):
        load(tmp_path, "w.pth")


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": {"layer": torch.zeros(3)}, "step": 4}, tmp_path / "w.pth")
    with pytest.raises(BackboneError, match="The file has 1 entries, such as layer"):
        load(tmp_path, "w.pth")


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "w.pth")
    with pytest.raises(BackboneError, match="no state dict, but an object of the class timm"):
        load(tmp_path, "w.pth")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_text("<html>log in first</html>")
    with pytest.raises(BackboneError, match="is not a readable checkpoint of torch"):
        load(tmp_path, "w.pth")


def test_a_checkpoint_of_an_old_torch_is_read(tmp_path: Path) -> None:
    wanted = network()
    torch.save(wanted.state_dict(), tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert_same(load(tmp_path, "w.pth"), wanted)


def test_a_folder_as_timm_saves_it(tmp_path: Path) -> None:
    wanted = network()
    timm.models.save_for_hf(wanted, tmp_path / "mine")
    found = load(tmp_path, "hub", "local-dir:mine")
    assert_same(found, wanted)


@pytest.mark.parametrize("model", ["hf-hub:clinic/model", "test_vit"])
def test_a_repository_that_was_carried_into_the_weights_folder(tmp_path: Path, model: str) -> None:
    wanted = network()
    timm.models.save_for_hf(wanted, tmp_path / "clinic--model", safe_serialization=True)
    weights = "hub" if model.startswith("hf-hub") else "hf-hub:clinic/model"
    assert_same(load(tmp_path, weights, model), wanted)


def test_a_repository_of_transformers_is_no_model_of_timm(tmp_path: Path) -> None:
    folder = tmp_path / "microsoft--rad-dino"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "dinov2", "architectures": ["X"]}')
    save_file(dict(network().state_dict()), folder / "model.safetensors")
    with pytest.raises(BackboneError, match=r"weights: 'hf-hub:microsoft/rad-dino'"):
        load(tmp_path, "hub", "hf-hub:microsoft/rad-dino")


@pytest.mark.parametrize(("content", "words"), [(b"", "it is empty"), (b"\x93" * 500, "damaged")])
def test_a_file_that_is_no_checkpoint_is_refused_without_torchs_advice_to_run_it(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(BackboneError, match=words) as found:
        read_checkpoint(tmp_path / "bad.pth", "b")
    assert "weights_only" not in str(found.value)
