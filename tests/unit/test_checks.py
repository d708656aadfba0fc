"""The check finds what would bias a comparison, and says what is only worth knowing."""

import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from sweep.data.quality.checks import DataCheck, Finding, check
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec
from tests.unit.test_near_duplicates import picture


def run(root: Path, **keys: object) -> DataCheck:
    spec = DatasetSpec.model_validate({"name": "d", "layout": "folder", "path": "d", **keys})
    return check(spec, Split(), root, root / "cache")


def kinds(found: DataCheck) -> dict[str, Finding]:
    return {finding.kind: finding for finding in found.findings}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Own splits of pictures that are all different."""
    for split, seeds in (("train", range(15)), ("test", range(15, 27))):
        for label, first in (("a", 0), ("b", 100)):
            folder = tmp_path / "d" / split / label
            folder.mkdir(parents=True)
            for seed in seeds:
                picture(first + seed, 64).save(folder / f"{label}{seed:02}_1.png")
    return tmp_path


def test_a_sound_dataset_gives_no_finding(root: Path) -> None:
    found = run(root)
    assert found.findings == []
    assert not found.biased
    assert found.images["test"] == {"a": 12, "b": 12}


def test_copies_across_splits_bias(root: Path) -> None:
    shutil.copy(root / "d/train/a/a00_1.png", root / "d/test/a/again.png")
    found = kinds(run(root))
    assert list(found) == ["copies_across_splits"]
    assert found["copies_across_splits"].severity == "bias"
    (item,) = found["copies_across_splits"].items
    assert item == "train/a/a00_1.png (train, a) = test/a/again.png (test, a)"


def test_near_identical_pictures_across_splits_bias(root: Path) -> None:
    Image.open(root / "d/train/a/a00_1.png").resize((90, 90)).save(root / "d/test/a/again.png")
    assert list(kinds(run(root))) == ["alike_across_splits"]


def test_copies_within_a_split_are_worth_knowing(root: Path) -> None:
    shutil.copy(root / "d/train/a/a00_1.png", root / "d/train/a/again.png")
    found = run(root)
    assert [(f.kind, f.severity) for f in found.findings] == [("copies_within_splits", "note")]
    assert not found.biased


def test_copies_with_different_labels_bias(root: Path) -> None:
    shutil.copy(root / "d/train/a/a00_1.png", root / "d/train/b/again.png")
    found = kinds(run(root))
    assert found["copies_with_other_labels"].severity == "bias"


def test_groups_across_splits_bias(root: Path) -> None:
    picture(999, 64).save(root / "d/test/a/a00_2.png")
    found = kinds(run(root, group=r"^(\w\d+)_"))
    assert found["groups_across_splits"].items == ["a00: test, train"]


def test_a_group_with_two_labels_is_worth_knowing(root: Path) -> None:
    picture(999, 64).save(root / "d/train/a/b00_2.png")
    found = kinds(run(root, group=r"^(\w\d+)_"))
    assert found["groups_with_several_labels"].items == ["b00: a, b"]
    assert found["groups_with_several_labels"].severity == "note"


def test_copies_of_one_patient_in_one_split_are_no_finding(root: Path) -> None:
    shutil.copy(root / "d/train/a/a00_1.png", root / "d/train/a/a00_2.png")
    assert run(root, group=r"^(\w\d+)_").findings == []


def test_unreadable_files_are_named(root: Path) -> None:
    (root / "d/train/a/empty.png").write_bytes(b"")
    found = kinds(run(root))
    assert found["unreadable"].items[0].startswith("train/a/empty.png: ")


def test_a_mark_near_the_border_gives_its_class_away(root: Path) -> None:
    for path in (root / "d").glob("*/b/*.png"):
        image = Image.open(path)
        ImageDraw.Draw(image).text((2, 2), "R", fill=(255, 255, 255), font_size=12)
        image.save(path)
    found = kinds(run(root))
    assert found["border_tells_class"].severity == "bias"
    assert "class b" in found["border_tells_class"].text


def test_sizes_that_differ_by_class_give_it_away(root: Path) -> None:
    for path in (root / "d").glob("*/b/*.png"):
        Image.open(path).resize((70, 64)).save(path)
    found = kinds(run(root))
    assert found["size_tells_class"].severity == "bias"


def test_few_test_samples_of_a_class_are_worth_knowing(root: Path) -> None:
    for path in list((root / "d/test/a").glob("*.png"))[:8]:
        path.unlink()
    assert kinds(run(root))["few_test_samples"].items == ["a: 4"]


def test_a_dataset_that_cannot_be_split_is_checked_all_the_same(root: Path) -> None:
    shutil.rmtree(root / "d/test/b")
    shutil.copy(root / "d/train/a/a00_1.png", root / "d/test/a/again.png")
    assert {"cannot_be_split", "copies_across_splits"} <= set(kinds(run(root)))
