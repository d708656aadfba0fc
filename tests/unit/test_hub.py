"""Repositories of the hub that are in its cache, or were carried into the weights folder."""

import json
import shutil
from pathlib import Path

import pytest
import timm
from huggingface_hub import constants

from sweep.backbones import hub
from sweep.backbones.backbone import forget_backbones, load_backbone
from sweep.backbones.families.base import missing_weights, repository_of
from sweep.backbones.pull import pull
from sweep.errors import BackboneError
from sweep.space.backbone import BackboneSpec


def spec(**entry: object) -> BackboneSpec:
    return BackboneSpec.model_validate({"name": "b", **entry})


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a repository ``clinic/model`` in a cache of the hub."""
    forget_backbones()
    monkeypatch.setattr(hub, "_folders", [])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "cache" / "models--clinic--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    snapshot = repository / "snapshots" / ("a" * 40)
    timm.models.save_for_hf(timm.create_model("test_vit"), snapshot, safe_serialization=True)
    return snapshot


def test_a_model_in_the_cache_is_there(cached: Path) -> None:
    model = spec(model="hf-hub:clinic/model")
    assert missing_weights(model, None) is None
    assert load_backbone(model, 160, None).features == 64


def test_weights_in_the_cache_serve_a_model_of_timm(cached: Path) -> None:
    weights = spec(model="test_vit", weights="hf-hub:clinic/model")
    assert load_backbone(weights, 160, None).features == 64
    named = spec(model="test_vit", weights="hf-hub:clinic/model/model.safetensors")
    assert missing_weights(named, None) is None
    other = spec(model="test_vit", weights="hf-hub:clinic/model/other.pth")
    assert "clinic/model/other.pth" in str(missing_weights(other, None))


def test_several_weights_are_to_be_told_apart(cached: Path) -> None:
    (cached / "model.safetensors").unlink()
    for name in ("a.pth", "b.pth"):
        (cached / name).write_bytes(b"")
    text = missing_weights(spec(model="test_vit", weights="hf-hub:clinic/model"), None)
    assert text == "clinic/model has several weights (a.pth, b.pth): write clinic/model/FILE"


def test_what_was_pulled_is_used_without_the_cache(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = spec(model="hf-hub:clinic/model")
    lines = pull([model], tmp_path / "carried")
    assert lines == ["b: clinic--model/model.safetensors, 1 MiB"]
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "nothing"))
    monkeypatch.setattr(hub, "_folders", [])
    assert missing_weights(model, None) is not None
    assert missing_weights(model, tmp_path / "carried") is None
    assert load_backbone(model, 160, tmp_path / "carried").features == 64


def test_revisions_and_folders_of_a_repository_are_kept_apart(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = cached.parent / ("b" * 40)
    (other / "deep").mkdir(parents=True)
    shutil.copy(cached / "model.safetensors", other / "deep" / "w.safetensors")
    (cached.parent.parent / "refs" / "v2").write_text("b" * 40)
    first = spec(model="test_vit", weights="hf-hub:clinic/model")
    second = spec(model="test_vit", weights="hf-hub:clinic/model@v2/deep/w.safetensors")
    pull([first, second], tmp_path / "carried")
    names = {p.relative_to(tmp_path / "carried").as_posix() for p in tmp_path.rglob("*.safetensors")
             if p.is_relative_to(tmp_path / "carried")}  # fmt: skip
    assert names == {"clinic--model/model.safetensors", "clinic--model@v2/deep/w.safetensors"}
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "nothing"))
    assert missing_weights(first, tmp_path / "carried") is None
    assert missing_weights(second, tmp_path / "carried") is None


def test_a_second_file_of_a_repository_is_found_where_the_first_was_pulled(
    cached: Path, tmp_path: Path
) -> None:
    shutil.copy(cached / "model.safetensors", cached / "other.safetensors")
    pull([spec(model="test_vit", weights="hf-hub:clinic/model")], tmp_path / "carried")
    other = spec(model="test_vit", weights="hf-hub:clinic/model/other.safetensors")
    assert missing_weights(other, tmp_path / "carried") is None


def test_a_configuration_that_changes_is_another_backbone(cached: Path) -> None:
    model = spec(model="hf-hub:clinic/model")
    before = load_backbone(model, 160, None).weights_hash
    config = json.loads((cached / "config.json").read_text())
    config["model_args"] = {**config.get("model_args", {}), "num_heads": 4}
    (cached / "config.json").write_text(json.dumps(config))
    forget_backbones()
    assert load_backbone(model, 160, None).weights_hash != before


@pytest.mark.parametrize("text", ["", "[]", "{", '{"architecture": "nothing_of_timm"}'])
def test_a_configuration_that_is_not_one_of_timm_is_refused(cached: Path, text: str) -> None:
    (cached / "config.json").write_text(text)
    with pytest.raises(BackboneError, match=r"cannot be read|is not timm's"):
        load_backbone(spec(model="hf-hub:clinic/model"), 160, None)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    model = spec(model=f"local-dir:{tmp_path / 'empty'}")
    assert "has no config.json" in str(missing_weights(model, None))
    (tmp_path / "empty" / "config.json").write_text('{"architecture": "test_vit"}')
    assert "holds no weights" in str(missing_weights(model, None))


def test_a_pulled_file_that_was_changed_is_refused(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = spec(model="hf-hub:clinic/model")
    pull([model], tmp_path / "carried")
    file = tmp_path / "carried" / "clinic--model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\1\2\3")
    with pytest.raises(BackboneError, match="is not the file that was pulled"):
        load_backbone(model, 160, tmp_path / "carried")


def test_a_repository_and_its_file_are_told_apart() -> None:
    assert repository_of("hf-hub:a/b") == ("a/b", "")
    assert repository_of("hf-hub:a/b/c.pth") == ("a/b", "c.pth")
    assert repository_of("hf-hub:a/b@v1/folder/c.pth") == ("a/b@v1", "folder/c.pth")


@pytest.mark.parametrize(
    "key", [{"model": "hf-hub:a/..b"}, {"model": "hf-hub:a/b--c"}, {"model": "hf-hub:-a/b"}]
)
def test_a_repository_that_the_hub_would_not_have_is_refused(key: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="write hf-hub:ORG/NAME"):
        BackboneSpec.model_validate({"name": "b", **key})


def test_a_file_outside_of_its_repository_is_refused() -> None:
    with pytest.raises(ValueError, match="write hf-hub:ORG/NAME"):
        BackboneSpec.model_validate(
            {"name": "b", "model": "resnet18", "weights": "hf-hub:a/b/../../secret.pth"}
        )
