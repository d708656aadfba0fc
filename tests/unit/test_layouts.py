from pathlib import Path

import numpy as np
import pytest

from sweep.data.dataset import read_manifest
from sweep.data.layouts import missing, read_samples
from sweep.errors import DataError
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec
from tests.conftest import write_images


def spec(**values: object) -> DatasetSpec:
    return DatasetSpec.model_validate({"name": "d", "layout": "folder", "path": "d", **values})


def test_a_folder_for_each_class(images: Path) -> None:
    manifest = read_manifest(spec(path="cells"), Split(), images)
    assert manifest.classes == ["dark", "light"]
    assert len(manifest) == 40
    assert set(manifest.splits) == {"train", "val", "test"}


@pytest.mark.parametrize("names", [("Training", "Testing"), ("train", "test")])
def test_split_folders_are_recognised(tmp_path: Path, names: tuple[str, str]) -> None:
    for part in names:
        for label, brightness in (("a", 50), ("b", 200)):
            write_images(tmp_path / "d" / part / label, 6, brightness)
    samples = read_samples(spec(), tmp_path)
    assert {s.label for s in samples} == {"a", "b"}
    assert {s.split for s in samples} == {"train", "test"}


def test_own_splits_may_be_left_out_for_new_ones(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label, brightness in (("a", 50), ("b", 200)):
            write_images(tmp_path / "d" / part / label, 10, brightness)
    manifest = read_manifest(spec(splits="drawn"), Split(test=0.2, val=0.2), tmp_path)
    assert manifest.counts()["test"] == {"a": 4, "b": 4}
    assert "test 8 (a 4, b 4)" in manifest.summary()


def test_split_folders_may_be_named(tmp_path: Path) -> None:
    for part in ("one", "two"):
        write_images(tmp_path / "d" / part / "a", 3, 50)
        write_images(tmp_path / "d" / part / "b", 3, 200)
    samples = read_samples(spec(train="one", test="two"), tmp_path)
    assert {(s.path.split("/")[0], s.split) for s in samples} == {("one", "train"), ("two", "test")}
    with pytest.raises(DataError, match=r"twoo is not there; did you mean two\?"):
        read_samples(spec(train="one", test="twoo"), tmp_path)


def test_the_group_is_read_from_the_file_name(tmp_path: Path) -> None:
    write_images(tmp_path / "d" / "a", 4, 50, prefix="p1_")
    write_images(tmp_path / "d" / "b", 4, 90, prefix="p2_")
    samples = read_samples(spec(group=r"^(p\d+)_"), tmp_path)
    assert {(s.label, s.group) for s in samples} == {("a", "p1"), ("b", "p2")}
    with pytest.raises(DataError, match="8 file names do not match"):
        read_samples(spec(group=r"^(q\d+)_"), tmp_path)


def test_an_empty_class_is_an_error(images: Path) -> None:
    (images / "cells" / "empty").mkdir()
    with pytest.raises(DataError, match="no images for a class") as caught:
        read_samples(spec(path="cells"), images)
    assert "empty" in str(caught.value)


def test_a_missing_folder_is_named_with_how_to_get_it(tmp_path: Path) -> None:
    assert "--data-root" in str(missing(spec(), tmp_path))
    known = DatasetSpec.model_validate("brain_mri")
    assert "Kaggle" in str(missing(known, tmp_path))


def write_csv(root: Path, text: str) -> DatasetSpec:
    write_images(root / "d", 9, 100)
    (root / "d" / "table.csv").write_text(text)
    return spec(layout="csv", path="d/table.csv")


def test_a_csv_names_path_label_group_and_split(tmp_path: Path) -> None:
    table = "path,label,group,split\n000.png,x,g1,train\n001.png,y,g2,Testing\n"
    samples = read_samples(write_csv(tmp_path, table), tmp_path)
    assert [(s.label, s.group, s.split) for s in samples] == [
        ("x", "g1", "train"),
        ("y", "g2", "test"),
    ]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("path,lable\n000.png,x\n", "did you mean lable"),
        ("path,label\n", "no rows"),
        ("path,label\n000.png,\n", "1 rows have no label"),
        ("path,label\nabsent.png,x\n", "1 images are not there"),
        ("path,label\n000.png,x\n000.png,y\n", "more than once"),
        ("path,label,split\n000.png,x,trian\n", "split 'trian'"),
        ("", "not a CSV table"),
    ],
)
def test_a_damaged_csv_is_an_error(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_samples(write_csv(tmp_path, table), tmp_path)


def medmnist(root: Path, **changes: object) -> DatasetSpec:
    arrays: dict[str, object] = {}
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        arrays[f"{split}_images"] = np.zeros((count, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count).reshape(-1, 1) % 2
    np.savez(root / "d.npz", **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return spec(layout="medmnist", path="d.npz")


def test_a_medmnist_file_brings_its_splits(tmp_path: Path) -> None:
    manifest = read_manifest(medmnist(tmp_path), Split(val="own"), tmp_path)
    assert [int((manifest.splits == s).sum()) for s in ("train", "val", "test")] == [8, 4, 4]
    assert manifest.classes == ["0", "1"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_images": np.array([object()] * 8)}, "pickled Python objects"),
        ({"train_labels": None}, "lacks train_images or train_labels"),
        ({"train_images": np.zeros((8, 28, 28))}, "uint8"),
        ({"test_labels": np.zeros((3, 1), int)}, "4 test_images but 3 test_labels"),
        ({"train_labels": np.zeros((8, 14), int)}, "several labels"),
    ],
)
def test_a_damaged_npz_is_an_error(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_samples(medmnist(tmp_path, **changes), tmp_path)


def test_a_truncated_npz_is_an_error(tmp_path: Path) -> None:
    described = medmnist(tmp_path)
    path = tmp_path / "d.npz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"damaged|cannot be used"):
        read_samples(described, tmp_path)


def test_the_shipped_digits_need_no_files(tmp_path: Path) -> None:
    manifest = read_manifest(DatasetSpec.model_validate("digits"), Split(), tmp_path)
    assert len(manifest) == 1797
    assert manifest.classes == [str(i) for i in range(10)]


def test_no_patient_of_the_shared_x_rays_is_in_two_splits(shared_data: Path) -> None:
    described = spec(path="nih_chest_xray", group=r"^(\d+)_")
    manifest = read_manifest(described, Split(), shared_data)
    found: dict[str, set[str]] = {}
    for group, split in zip(manifest.groups, manifest.splits, strict=True):
        found.setdefault(group, set()).add(split)
    assert all(len(splits) == 1 for splits in found.values())
