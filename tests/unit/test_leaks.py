"""What leaks from the test split is left out of training, and never out of the test split."""

from pathlib import Path

import numpy as np
import pytest

from sweep.data.dataset import Dataset, DatasetView, open_dataset
from sweep.data.manifest import Manifest, Sample
from sweep.data.quality.leaks import find_leaks
from sweep.data.quality.near_duplicates import NearDuplicates
from sweep.errors import DataError
from sweep.space.model import Space
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec
from tests.conftest import write_images

NONE = np.arange(6)


def opened(of: DatasetSpec, folder: Path) -> Dataset:
    return open_dataset(DatasetView(of, Split(), 16, "bilinear"), folder, folder / "cache")


def manifest(groups: str = "abcdef") -> Manifest:
    splits = ["train", "train", "train", "val", "val", "test"]
    return Manifest.of([Sample(f"{i}", "x", g, None) for i, g in enumerate(groups)], splits, ["x"])


def test_training_gives_way_to_validation_and_both_to_test() -> None:
    copies = np.array([0, 1, 2, 1, 0, 0])
    leaks = find_leaks(manifest(), NearDuplicates(copies, copies))
    assert leaks.copies.tolist() == [True, True, False, False, True, False]


def test_groups_leak_too() -> None:
    leaks = find_leaks(manifest("abcdba"), NearDuplicates(NONE, NONE))
    assert leaks.groups.tolist() == [True, True, False, False, False, False]
    assert not leaks.copies.any()


def test_twins_within_a_split_do_not_leak() -> None:
    copies = np.array([0, 0, 0, 1, 1, 2])
    assert not find_leaks(manifest(), NearDuplicates(copies, copies)).all.any()


def test_the_summary_counts_without_naming() -> None:
    copies = np.array([0, 1, 2, 3, 4, 0])
    alike = np.array([0, 3, 2, 3, 4, 0])
    said = find_leaks(manifest("zyxwvz"), NearDuplicates(copies, alike)).summary(manifest())
    assert said.startswith("2 of 3 in train (1 copies of pictures in a later split, 1 the same")


def leaking(root: Path) -> None:
    """Own splits in which one training picture is a test picture too, another of its patient."""
    for split in ("train", "test"):
        for label, brightness in (("a", 60), ("b", 180)):
            write_images(root / "d" / split / label, 12, brightness + len(split), 32, f"{split}_")
    whole = (root / "d" / "test" / "a" / "test_000.png").read_bytes()
    (root / "d" / "train" / "a" / "copy_000.png").write_bytes(whole)


def spec(leaks: str) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {"name": "d", "layout": "folder", "path": "d", "leaks": leaks}
    )


def test_leaks_are_dropped_by_default(tmp_path: Path) -> None:
    leaking(tmp_path)
    entry = {"name": "d", "layout": "folder", "path": "d"}
    space = Space.model_validate({"name": "s", "datasets": [entry], "backbones": ["lite0"]})
    dataset = open_dataset(
        DatasetView(space.datasets[0], Split(), 16, "bilinear"), tmp_path, tmp_path / "cache"
    )
    used = {dataset.manifest.ids[row] for s in ("train", "val") for row in dataset.rows(s)}
    assert "train/a/copy_000.png" not in used
    assert len(dataset.rows("test")) == 24
    assert "copies of pictures" in "".join(dataset.dropped)


def test_leaks_may_be_an_error_that_names_them(tmp_path: Path) -> None:
    leaking(tmp_path)
    with pytest.raises(DataError, match=r"train/a/copy_000\.png"):
        open_dataset(
            DatasetView(spec("error"), Split(), 16, "bilinear"), tmp_path, tmp_path / "cache"
        )


def test_leaks_may_be_allowed(tmp_path: Path) -> None:
    leaking(tmp_path)
    dataset = open_dataset(
        DatasetView(spec("allow"), Split(), 16, "bilinear"), tmp_path, tmp_path / "cache"
    )
    assert len(dataset.rows("train")) + len(dataset.rows("val")) == 25
    assert not dataset.dropped


def test_a_patient_in_two_of_the_own_splits_is_left_out_of_training(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("test", 1)):
        for label, brightness in (("a", 60), ("b", 180)):
            for patient in range(first * 9, first * 9 + 12):
                noise = brightness + 3 * patient + len(split)
                write_images(tmp_path / "d" / split / label, 1, noise, 32, f"{label}{patient}_")
    grouped = spec("drop").model_copy(update={"group": r"^(\w\d+)_"})
    dataset = open_dataset(
        DatasetView(grouped, Split(), 16, "bilinear"), tmp_path, tmp_path / "cache"
    )
    groups = {
        s: {dataset.manifest.groups[row] for row in dataset.rows(s)} for s in ("train", "test")
    }
    assert not groups["train"] & groups["test"]
