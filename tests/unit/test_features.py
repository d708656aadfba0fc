from pathlib import Path

import numpy as np
import pytest
import torch

from sweep.backbones.backbone import Backbone, load_backbone
from sweep.data.store.image_store import Store
from sweep.space.backbone import BackboneSpec
from sweep.train import features as module
from sweep.train.features import features_key, normalise, open_features

CPU = torch.device("cpu")


def backbone(model: str = "test_resnet") -> Backbone:
    return load_backbone(BackboneSpec(name="b", model=model, weights="none"), 32, None)


def store(count: int = 70, fingerprint: str = "f") -> Store:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Store.of(pixels, fingerprint)


def test_cached_features_are_what_the_trunk_gives(tmp_path: Path) -> None:
    rows = np.array([69, 0, 33])
    found = open_features(backbone(), store(), tmp_path, CPU).rows(rows)
    images = normalise(torch.from_numpy(store().rows(rows)), backbone().preprocessing)
    with torch.inference_mode():
        torch.testing.assert_close(found, backbone().trunk(images), rtol=1e-4, atol=1e-5)


def test_they_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_features(backbone(), store(), tmp_path, CPU).rows(np.arange(70))
    monkeypatch.setattr(module, "_compute", lambda *_: pytest.fail("computed again"))
    assert torch.equal(open_features(backbone(), store(), tmp_path, CPU).rows(np.arange(70)), first)


def test_a_damaged_file_is_computed_again(tmp_path: Path) -> None:
    first = open_features(backbone(), store(), tmp_path, CPU).rows(np.arange(70))
    (file,) = (tmp_path / "features").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:200])
    assert torch.equal(open_features(backbone(), store(), tmp_path, CPU).rows(np.arange(70)), first)


def test_a_file_in_which_one_bit_has_changed_is_computed_again(tmp_path: Path) -> None:
    first = open_features(backbone(), store(), tmp_path, CPU).rows(np.arange(70))
    (file,) = (tmp_path / "features").glob("*.arrow")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40
    file.write_bytes(content)
    assert torch.equal(open_features(backbone(), store(), tmp_path, CPU).rows(np.arange(70)), first)


def test_they_are_read_where_nothing_may_be_written(tmp_path: Path) -> None:
    first = open_features(backbone(), store(), tmp_path, CPU).rows(np.arange(70))
    (lock,) = (tmp_path / "features").glob("*.lock")
    lock.unlink()
    lock.mkdir()  # so that nobody can take it
    assert torch.equal(open_features(backbone(), store(), tmp_path, CPU).rows(np.arange(70)), first)


def test_whatever_changes_features_changes_their_key() -> None:
    keys = {
        features_key(backbone(), store(), CPU),
        features_key(backbone("test_efficientnet"), store(), CPU),
        features_key(backbone(), store(fingerprint="g"), CPU),
        features_key(backbone(), store(), torch.device("cuda")),
    }
    assert len(keys) == 4
