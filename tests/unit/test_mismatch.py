"""Weights that do not fit: what the file has, and the likely reason."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from sweep.backbones.backbone import forget_backbones, load_backbone
from sweep.errors import BackboneError
from sweep.space.backbone import BackboneSpec

State = dict[str, torch.Tensor]


def told(tmp_path: Path, state: State, model: str = "test_vit") -> str:
    """Load a state as the weights of a model; return the message of the refusal."""
    save_file({name: item.contiguous() for name, item in state.items()}, tmp_path / "w.safetensors")
    spec = BackboneSpec.model_validate({"name": "b", "model": model, "weights": "w.safetensors"})
    forget_backbones()
    with pytest.raises(BackboneError) as error:
        load_backbone(spec, 160, tmp_path)
    return str(error.value)


@pytest.fixture
def state() -> State:
    found: State = timm.create_model("test_vit", num_classes=0).state_dict()
    return found


def test_a_decoder_is_named(tmp_path: Path, state: State) -> None:
    state["decoder_blocks.0.attn.qkv.weight"] = torch.zeros(3)
    del state["norm.weight"]
    assert "It holds a decoder, as of a masked autoencoder" in told(tmp_path, state)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("blocks.0.ls1.gamma", "kwargs: {init_values: 1.0e-5}"),
        ("fc_norm.weight", "kwargs: {global_pool: avg}"),
        ("norm_pre.weight", "name a CLIP model"),
        ("reg_token", "It has registers"),
    ],
)
def test_what_the_model_is_to_be_built_with_is_named(
    tmp_path: Path, state: State, name: str, advice: str
) -> None:
    state[name] = torch.zeros(64)
    assert advice in told(tmp_path, state)


def test_another_depth_is_named(tmp_path: Path, state: State) -> None:
    less = {name: item for name, item in state.items() if not name.startswith("blocks.5.")}
    assert "It has 5 blocks, and the model 6" in told(tmp_path, less)


def test_values_that_are_not_numbers_are_refused(tmp_path: Path, state: State) -> None:
    state["norm.weight"] = torch.full_like(state["norm.weight"], torch.nan)
    assert "hold values that are not numbers: norm.weight" in told(tmp_path, state)


def test_weights_of_another_network_are_refused_whatever_timm_makes_of_them(
    tmp_path: Path,
) -> None:
    other = timm.create_model("test_efficientnet").state_dict()
    assert "do not fit test_vit" in told(tmp_path, other)


def test_a_pointer_of_git_lfs_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    spec = BackboneSpec.model_validate(
        {"name": "b", "model": "test_vit", "weights": "w.safetensors"}
    )
    with pytest.raises(BackboneError, match="pointer of Git LFS"):
        load_backbone(spec, 160, tmp_path)
