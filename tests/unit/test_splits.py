from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.data.manifest import Sample
from sweep.data.splits import assign_splits, nested
from sweep.errors import DataError
from sweep.space.recipe import Split


def make(labels: list[int], groups: list[int], splits: list[str | None] | None = None):
    given_splits = splits or [None] * len(labels)
    return [
        Sample(f"{i}.png", str(label), str(group), split)
        for i, (label, group, split) in enumerate(zip(labels, groups, given_splits, strict=True))
    ]


@st.composite
def datasets(draw: st.DrawFn):
    groups = draw(st.integers(6, 40))
    sizes = draw(st.lists(st.integers(1, 6), min_size=groups, max_size=groups))
    classes = draw(st.integers(2, 4))
    labels, ids = [], []
    for group, size in enumerate(sizes):
        mixed = draw(st.booleans())
        for k in range(size):
            labels.append((group + (k if mixed else 0)) % classes)
            ids.append(group)
    return make(labels, ids)


@given(datasets(), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_no_group_is_in_two_splits_and_every_class_in_each_or_it_is_an_error(samples, seed) -> None:
    try:
        splits = assign_splits("d", samples, Split(val=0.2, test=0.2, seed=seed))
    except DataError as error:
        assert "class" in str(error)
        return
    of_group, of_class = defaultdict(set), defaultdict(set)
    for sample, split in zip(samples, splits, strict=True):
        of_group[sample.group].add(split)
        of_class[sample.label].add(split)
    assert all(len(found) == 1 for found in of_group.values())
    assert all(found == {"train", "val", "test"} for found in of_class.values())


def test_splits_are_stratified_and_reproducible() -> None:
    samples = make([0] * 300 + [1] * 100, list(range(400)))
    splits = np.array(assign_splits("d", samples, Split(val=0.2, test=0.1, seed=1)))
    labels = np.array([int(s.label) for s in samples])
    for label, count in ((0, 300), (1, 100)):
        assert (splits[labels == label] == "test").sum() == pytest.approx(count * 0.1, abs=1)
        assert (splits[labels == label] == "val").sum() == pytest.approx(count * 0.2, abs=1)
    assert (splits == assign_splits("d", samples, Split(val=0.2, test=0.1, seed=1))).all()
    assert (splits != assign_splits("d", samples, Split(val=0.2, test=0.1, seed=2))).any()


def test_large_and_small_groups_are_in_every_split_in_the_same_share() -> None:
    sizes = [10] * 20 + [3] * 60 + [1] * 200
    groups = np.repeat(np.arange(len(sizes)), sizes).tolist()
    labels = [group % 2 for group in groups]
    splits = np.array(assign_splits("d", make(labels, groups), Split(val=0.2, test=0.2)))
    split_of = dict(zip(groups, splits, strict=True))
    for size in (10, 3, 1):
        own = [split_of[group] for group, count in enumerate(sizes) if count == size]
        for part, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
            assert own.count(part) / len(own) == pytest.approx(share, abs=0.06)


def test_a_split_that_the_dataset_brings_is_kept() -> None:
    brought = ["train"] * 20 + ["test"] * 10
    samples = make([0, 1] * 15, list(range(30)), list(brought))
    splits = assign_splits("d", samples, Split())
    assert set(splits[20:]) == {"test"}
    assert set(splits[:20]) == {"train", "val"}


def test_a_class_smaller_than_the_splits_is_an_error() -> None:
    with pytest.raises(DataError, match="class '1' has 2"):
        assign_splits("d", make([0] * 10 + [1] * 2, list(range(12))), Split())


def test_one_class_alone_is_an_error() -> None:
    with pytest.raises(DataError, match="two classes at least"):
        assign_splits("d", make([0] * 10, list(range(10))), Split())


@given(datasets(), st.integers(2, 5), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_every_sample_is_in_the_test_split_of_one_fold(samples, count, seed) -> None:
    split = Split(folds=count, seed=seed)
    try:
        of_fold = [assign_splits("d", samples, split, fold) for fold in range(count)]
    except DataError as error:
        assert "class" in str(error)
        return
    tested = np.sum([splits == "test" for splits in of_fold], axis=0)
    assert set(tested) == {1}
    for splits in of_fold:
        of_group = defaultdict(set)
        for sample, part in zip(samples, splits, strict=True):
            of_group[sample.group].add(part)
        assert all(len(found) == 1 for found in of_group.values())


def test_folds_hold_the_classes_in_proportion() -> None:
    samples = make([0] * 100 + [1] * 40, list(range(140)))
    labels = np.array([int(s.label) for s in samples])
    for fold in range(4):
        splits = assign_splits("d", samples, Split(folds=4), fold)
        assert ((splits == "test") & (labels == 0)).sum() == 25
        assert ((splits == "test") & (labels == 1)).sum() == 10


def test_a_test_split_that_the_dataset_brings_stays_in_every_fold() -> None:
    samples = make([0, 1] * 15, list(range(30)), ["train"] * 20 + ["test"] * 10)
    for fold in range(3):
        assert set(assign_splits("d", samples, Split(folds=3), fold)[20:]) == {"test"}


@given(datasets(), st.integers(0, 3), st.floats(0.01, 1), st.floats(0.01, 1))
@settings(max_examples=100, deadline=None)
def test_a_smaller_fraction_is_a_subset_of_a_larger_in_whole_groups(samples, seed, a, b) -> None:
    labels = np.array([int(s.label) for s in samples])
    groups = np.array([int(s.group) for s in samples])
    small, large = (nested(labels, groups, fraction, seed) for fraction in sorted((a, b)))
    assert (large | ~small).all()
    assert small.any()
    assert nested(labels, groups, 1.0, seed).all()
    for chosen in (small, large):
        assert not set(groups[chosen]) & set(groups[~chosen])


def test_a_fraction_is_taken_of_every_class() -> None:
    labels = np.array([0] * 500 + [1] * 100)
    chosen = nested(labels, np.arange(600), 0.1, 0)
    assert np.bincount(labels[chosen]).tolist() == [50, 10]
