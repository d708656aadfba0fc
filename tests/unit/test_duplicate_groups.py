"""Near-duplicates in drawn splits stay together; nothing but contradictions is left out."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sweep.data.dataset import Dataset, DatasetView, open_dataset
from sweep.data.quality.duplicate_groups import merged_groups, several_labels
from sweep.errors import DataError
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec
from tests.conftest import write_images

SPEC = DatasetSpec.model_validate({"name": "d", "layout": "folder", "path": "d", "leaks": "drop"})


def opened(root: Path, spec: DatasetSpec = SPEC, **where: int) -> Dataset:
    view = DatasetView(spec, Split(), 16, "bilinear", **where)
    return open_dataset(view, root, root / "cache")


def test_groups_that_share_a_picture_are_one() -> None:
    found = merged_groups(["a", "b", "c", "c", "d"], np.array([0, 0, 1, 2, 2]))
    assert found == ["a", "a", "c", "c", "c"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 6)), min_size=1, max_size=20))
def test_merging_keeps_together_what_was_together_and_nothing_else(
    pairs: list[tuple[str, int]],
) -> None:
    groups, alike = [group for group, _ in pairs], np.array([number for _, number in pairs])
    merged = merged_groups(groups, alike)
    together = [{i} for i in range(len(pairs))]
    for _ in pairs:  # the plain way: join until nothing joins any more
        for i, own in enumerate(together):
            for j in range(len(pairs)):
                if any(groups[j] == groups[k] or alike[j] == alike[k] for k in own):
                    together[i] = together[i] | together[j] | {j}
    for i, own in enumerate(together):
        assert {j for j in range(len(pairs)) if merged[j] == merged[i]} == own


def test_a_picture_with_two_labels_is_found_wherever_it_is() -> None:
    found = several_labels(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 2]))
    assert found.tolist() == [True, True, False, False]


@pytest.fixture
def doubled(tmp_path: Path) -> Path:
    """Twelve pictures a class, each of them twice: as a PNG, and at half the size."""
    rng = np.random.default_rng(0)
    for label in "ab":
        folder = tmp_path / "d" / label
        folder.mkdir(parents=True)
        for number in range(12):
            coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3)).astype(np.uint8))
            image = coarse.resize((64, 64), Image.Resampling.BICUBIC)
            image.save(folder / f"{number:03}.png")
            image.resize((32, 32)).save(folder / f"small_{number:03}.png")
    return tmp_path


def test_copies_are_on_one_side_and_none_is_left_out(doubled: Path) -> None:
    for partition in range(4):
        dataset = opened(doubled, partition=partition)
        assert not dataset.dropped
        assert sum(len(dataset.rows(split)) for split in ("train", "val", "test")) == 48
        side = dict(zip(dataset.manifest.ids, dataset.manifest.splits, strict=True))
        for name, split in side.items():
            if "small_" not in name:
                label, _, file = name.partition("/")
                assert side[f"{label}/small_{file}"] == split


def test_the_same_picture_under_two_labels_is_left_out_and_named(doubled: Path) -> None:
    whole = (doubled / "d" / "a" / "000.png").read_bytes()
    (doubled / "d" / "b" / "same.png").write_bytes(whole)
    dataset = opened(doubled)
    used = {dataset.manifest.ids[row] for s in ("train", "val", "test") for row in dataset.rows(s)}
    assert not used & {"a/000.png", "a/small_000.png", "b/same.png"}
    assert (
        "3 pictures that are the same as others under another label: a/000.png"
        in (dataset.dropped[0])
    )


def test_a_copied_test_split_says_that_splits_can_be_drawn(tmp_path: Path) -> None:
    for label, brightness in (("a", 60), ("b", 180)):
        for split in ("train", "test"):
            write_images(tmp_path / "d" / split / label, 8, brightness, 32)
    with pytest.raises(DataError, match="splits: drawn"):
        opened(tmp_path)
    drawn = SPEC.model_copy(update={"splits": "drawn"})
    assert len(opened(tmp_path, drawn).rows("train")) > 0


def test_partitions_share_the_test_split_and_differ_in_the_rest(doubled: Path) -> None:
    found = [opened(doubled, partition=number) for number in range(4)]
    assert len({tuple(dataset.rows("test")) for dataset in found}) == 1
    assert len({tuple(dataset.rows("val")) for dataset in found}) == 4
    again = opened(doubled, partition=2)
    assert again.split_fingerprint() == found[2].split_fingerprint()


def test_an_own_validation_split_is_one_of_training_unless_asked_for(tmp_path: Path) -> None:
    for split, count in (("train", 20), ("val", 6), ("test", 8)):
        for label, brightness in (("a", 60), ("b", 180)):
            write_images(tmp_path / "d" / split / label, count, brightness + 3 * count, 32)

    def validated(split: Split, partition: int) -> set[str]:
        view = DatasetView(SPEC, split, 16, "bilinear", partition=partition)
        dataset = open_dataset(view, tmp_path, tmp_path / "cache")
        return {dataset.manifest.ids[row] for row in dataset.rows("val")}

    own = {validated(Split(val="own"), number).__len__() for number in range(3)}
    assert own == {12}
    assert validated(Split(val="own"), 0) == validated(Split(val="own"), 2)
    assert {name.split("/")[0] for name in validated(Split(), 1)} == {"train", "val"}
    assert validated(Split(), 0) != validated(Split(), 1)
