"""The same picture is found again, whatever its size and encoding; likeness is not enough."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from sweep.data.dataset import open_near_duplicates, read_manifest
from sweep.data.quality import near_duplicates as module
from sweep.data.quality.near_duplicates import (
    NearDuplicates,
    find_near_duplicates,
    load_near_duplicates,
)
from sweep.data.store.image_store import Store
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec

SPEC = DatasetSpec(name="d", layout="folder", path="d")


def picture(seed: int, side: int = 200) -> Image.Image:
    """A blurred random picture, unlike that of any other seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return ImageOps.autocontrast(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(8)))


def found(root: Path) -> tuple[NearDuplicates, dict[str, int]]:
    manifest = read_manifest(SPEC, Split(), root)
    rows = {Path(path).name: row for row, path in enumerate(manifest.paths)}
    return open_near_duplicates(SPEC, manifest, root, root / "cache"), rows


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of ten pictures, all different."""
    for label, first in (("a", 0), ("b", 100)):
        (tmp_path / "d" / label).mkdir(parents=True)
        for i in range(10):
            picture(first + i).save(tmp_path / "d" / label / f"{label}{i}.png")
    return tmp_path


def test_different_pictures_have_no_twins(root: Path) -> None:
    near_duplicates, rows = found(root)
    assert len(set(near_duplicates.alike)) == len(set(near_duplicates.copies)) == len(rows) == 20


def test_the_same_pixels_in_another_file_are_a_copy(root: Path) -> None:
    Image.open(root / "d" / "a" / "a3.png").save(root / "d" / "b" / "other.tif")
    near_duplicates, rows = found(root)
    assert near_duplicates.copies[rows["other.tif"]] == near_duplicates.copies[rows["a3.png"]]
    assert len(set(near_duplicates.copies)) == 20


def _smaller(image: Image.Image, path: Path) -> None:
    image.resize((100, 100)).save(path)


def _larger(image: Image.Image, path: Path) -> None:
    image.resize((400, 400)).save(path)


def _stretched(image: Image.Image, path: Path) -> None:
    image.resize((300, 150)).save(path)


def _jpeg(image: Image.Image, path: Path) -> None:
    image.save(path.with_suffix(".jpg"), quality=30)


def _brighter(image: Image.Image, path: Path) -> None:
    Image.fromarray((np.asarray(image) * 0.8 + 30).astype(np.uint8)).save(path)


def _grey(image: Image.Image, path: Path) -> None:
    image.convert("L").save(path)


@pytest.mark.parametrize("change", [_smaller, _larger, _stretched, _jpeg, _brighter, _grey])
def test_a_changed_picture_is_alike_but_no_copy(
    root: Path, change: Callable[[Image.Image, Path], None]
) -> None:
    change(Image.open(root / "d" / "a" / "a3.png"), root / "d" / "b" / "changed.png")
    near_duplicates, rows = found(root)
    changed = next(row for name, row in rows.items() if name.startswith("changed"))
    assert near_duplicates.alike[changed] == near_duplicates.alike[rows["a3.png"]]
    assert len(set(near_duplicates.alike)) == 20
    assert len(set(near_duplicates.copies)) == 21


def test_unreadable_pictures_have_no_twins(root: Path) -> None:
    for i in range(2):
        (root / "d" / "a" / f"broken{i}.png").write_bytes(b"")
    near_duplicates, _ = found(root)
    assert len(set(near_duplicates.copies)) == 22


def test_the_tree_finds_the_pairs_that_comparing_all_finds() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(40, 8)).astype(np.float32) @ rng.normal(size=(8, 1024))
    noisy = base[rng.integers(0, 40, 400)] + rng.normal(size=(400, 1024)) * 0.3
    signatures = noisy - noisy.mean(axis=1, keepdims=True)
    signatures = (signatures / np.linalg.norm(signatures, axis=1, keepdims=True)).astype("f4")
    fast = {tuple(sorted(pair)) for pair in module._near_pairs(signatures).tolist()}
    i, j = np.triu_indices(400, 1)
    near = np.linalg.norm(signatures[i] - signatures[j], axis=1) <= np.sqrt(2 * 0.008)
    assert fast == set(zip(i[near].tolist(), j[near].tolist(), strict=True))
    assert 100 < len(fast) < 20_000


def test_what_was_found_is_looked_up_the_next_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = found(root)
    monkeypatch.setattr("sweep.data.dataset.find_near_duplicates", None)
    again, _ = found(root)
    assert np.array_equal(first.alike, again.alike)


def test_a_damaged_file_of_twins_counts_as_absent(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"damaged")
    assert load_near_duplicates(tmp_path / "x.npz") is None


def test_pictures_too_small_to_tell_are_only_copies() -> None:
    small = np.zeros((4, 64, 64, 3), np.uint8)
    small[1:, 20:40] = 200
    small[2, 20] = 190  # nearly the same as 1 and 3
    store = Store.of(small, "made up")
    store.originals[:] = 8

    class Plan:
        names = ("0", "1", "2", "3")

        @staticmethod
        def source() -> object:
            return Plan()

        def open(self, name: str) -> Image.Image:
            return Image.fromarray(small[int(name)])

    near_duplicates = find_near_duplicates(store, Plan())  # type: ignore[arg-type]
    assert near_duplicates.alike[1] == near_duplicates.alike[3] != near_duplicates.alike[2]
