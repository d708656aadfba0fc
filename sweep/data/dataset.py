"""A dataset ready to train on: its manifest, its splits and its decoded images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweep.base.identity import canonical_hash
from sweep.base.settings import default_cache
from sweep.data.layouts import read_samples, source
from sweep.data.manifest import SPLITS, UNUSED, Manifest, Sample, positives
from sweep.data.multilabel import label_names
from sweep.data.positive import ordered_classes
from sweep.data.quality.duplicate_groups import merged_groups, several_labels
from sweep.data.quality.leaks import find_leaks, settle_leaks
from sweep.data.quality.near_duplicates import (
    THUMBNAIL,
    NearDuplicates,
    find_near_duplicates,
    load_near_duplicates,
    near_duplicates_key,
)
from sweep.data.splits import assign_splits, nested, require_every_class
from sweep.data.store.building import Progress, StorePlan
from sweep.data.store.image_store import Store, open_store
from sweep.errors import DataError, listing
from sweep.space.recipe import Split
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec

_NAMED = 5  # a message names this many excluded samples


@dataclass(frozen=True, eq=False)
class Dataset:
    """The samples of a dataset and their images; row i of the store is sample i.

    Attributes:
        clusters: of each sample the group with which it was split: that of the manifest, merged
            with those that share a picture with it.
        pooled: the predictions for the images of a group are averaged and scored as one.
        dropped: what was left out and why, in words; empty if nothing was.
    """

    manifest: Manifest
    store: Store
    clusters: Sequence[str]
    pooled: bool = False
    dropped: tuple[str, ...] = ()

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the indices of the readable samples of a split, ascending."""
        readable = np.ones(len(self.manifest), dtype=bool)
        readable[list(self.store.unreadable)] = False
        return np.flatnonzero((self.manifest.splits == split) & readable)

    def units(self, split: str) -> NDArray[np.int64]:
        """Return which unit of scoring each of `rows(split)` belongs to, from 0, shape (N,).

        Units are groups where predictions are pooled, else the samples themselves.
        """
        rows = self.rows(split)
        if not self.pooled:
            return np.arange(len(rows))
        groups = [self.manifest.groups[row] for row in rows]
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class indices of all samples, shape (N,); of several labels 0 and 1, shape (N, C)."""
        return self.manifest.labels

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the labels."""
        return self.manifest.classes

    def fingerprint(self) -> str:
        """Return a hash of pixels, labels and splits."""
        return canonical_hash([self.store.fingerprint, self.split_fingerprint()])

    def split_fingerprint(self) -> str:
        """Return a hash of labels and splits, the same at every size of the pixels."""
        labels, splits = self.labels.tolist(), self.manifest.splits.tolist()
        return canonical_hash([self.classes, self.manifest.ids, labels, splits])


@lru_cache(maxsize=64)
def read_manifest(
    spec: DatasetSpec, split: Split, data_root: Path, fold: int = 0, partition: int = 0
) -> Manifest:
    """Read a dataset's samples and assign their splits; near-duplicates are not looked for.

    Raises DataError if it is not there, not in its layout, or cannot be split.
    """
    samples = samples_of(spec, data_root)
    several = bool(spec.multilabel)
    splits = assign_splits(spec.name, samples, split, fold, partition, multilabel=several)
    return Manifest.of(samples, splits.tolist(), classes_of(spec, samples), several)


def classes_of(spec: DatasetSpec, samples: Sequence[Sample]) -> list[str]:
    """Return a dataset's class names in the order of their indices; of two the second is positive.

    Raises DataError if its entry names a positive class that is none.
    """
    if spec.multilabel:
        return label_names(spec.name, samples, spec.multilabel)
    labels = [sample.label for sample in samples]
    return ordered_classes(spec.name, labels, spec.positive, spec.ordered)


@lru_cache(maxsize=16)
def samples_of(spec: DatasetSpec, data_root: Path) -> list[Sample]:
    """Read a dataset's samples; without their splits where new ones are to be drawn."""
    samples = read_samples(spec, data_root)
    if spec.splits == "own":
        return samples
    return [replace(sample, split=None) for sample in samples]


@lru_cache(maxsize=16)
def samples_hash(spec: DatasetSpec, data_root: Path) -> str:
    """Return a hash of a dataset's samples: files, labels, groups and the splits that it brings."""
    samples = samples_of(spec, data_root)
    return canonical_hash([[s.path, s.label, s.group, s.split] for s in samples])


@dataclass(frozen=True)
class DatasetView:
    """What of a dataset is opened, and how its images are to be.

    Attributes:
        split: fractions, where the dataset brings no split of its own.
        size: side of the decoded images, in pixels.
        fold: which part is tested, where the dataset is cut into folds.
        partition: which cut of the non-test samples into train and val; see `assign_splits`.
        train_fraction: share of the training groups that is kept.
        crop: which part of the images; see `sweep.data.io.images.decode`.
    """

    spec: DatasetSpec
    split: Split
    size: int
    interpolation: str
    fold: int = 0
    partition: int = 0
    train_fraction: float = 1.0
    crop: float | None = None


def open_dataset(
    view: DatasetView,
    data_root: Path,
    cache: Path | None = None,
    progress: Progress | None = None,
    verify: bool = False,
) -> Dataset:
    """Open a dataset with its images decoded, decoding them if need be.

    Near-duplicates are kept together where splits are drawn. Training samples that leak from a
    dataset's own test split are dropped as `spec.leaks` says, then those beyond the train
    fraction.

    Args:
        verify: compare the decoded images with their SHA-256.

    Raises DataError if it cannot be read, or holds unreadable images or leaks that it may not.
    """
    cache, spec, split = cache or default_cache(), view.spec, view.split
    manifest = read_manifest(spec, split, data_root, view.fold, view.partition)
    plan = store_plan(spec, manifest, view.size, view.interpolation, data_root, view.crop)
    store = open_store(cache / "stores", plan, progress, verify)
    dataset = Dataset(manifest, store, manifest.groups, spec.pooled)
    if dataset.store.unreadable:
        _settle_unreadable(spec, dataset)
    if spec.leaks != "allow":
        near_duplicates = open_near_duplicates(spec, manifest, data_root, cache)
        drawn = samples_of_one_group(
            spec, manifest, near_duplicates, split, data_root, view.fold, view.partition
        )
        dataset = _without_leaks(spec, _with_splits(dataset, drawn), near_duplicates)
    if view.train_fraction < 1:
        dataset = _with_fraction(spec, dataset, view.train_fraction, split.seed)
    return dataset


@dataclass(frozen=True, eq=False)
class Together:
    """Splits in which near-duplicates are in one group.

    Attributes:
        splits: of each sample, shape (N,).
        clusters: of each sample the group that it was split with.
        unclear: mask of the samples that were left out, as the same picture has another label.
    """

    splits: NDArray[np.str_]
    clusters: list[str]
    unclear: NDArray[np.bool_]


def samples_of_one_group(
    spec: DatasetSpec,
    manifest: Manifest,
    near_duplicates: NearDuplicates,
    split: Split,
    data_root: Path,
    fold: int = 0,
    partition: int = 0,
) -> Together:
    """Draw a manifest's splits again with near-duplicates in one group.

    A dataset's own test split stays as it is.

    Raises DataError if a class is then absent from a split.
    """
    samples = samples_of(spec, data_root)
    clusters = merged_groups(manifest.groups, near_duplicates.alike)
    own_test = np.asarray([sample.split == "test" for sample in samples])
    unclear = several_labels(manifest.label_sets, near_duplicates.alike) & ~own_test
    if clusters == manifest.groups and not unclear.any():
        return Together(manifest.splits, clusters, unclear)
    together = [replace(s, group=c) for s, c in zip(samples, clusters, strict=True)]
    several = manifest.multilabel
    splits = assign_splits(spec.name, together, split, fold, partition, unclear, several)
    return Together(splits, clusters, unclear)


def _with_splits(dataset: Dataset, drawn: Together) -> Dataset:
    dropped = dataset.dropped
    if drawn.unclear.any():
        names = [dataset.manifest.ids[row] for row in np.flatnonzero(drawn.unclear)]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        dropped += (
            f"{len(names):,} pictures that are the same as others under another label: "
            f"{', '.join(names[:_NAMED])}{more}",
        )
    manifest = dataset.manifest.resplit(drawn.splits)
    return replace(dataset, manifest=manifest, clusters=drawn.clusters, dropped=dropped)


def _without_leaks(spec: DatasetSpec, dataset: Dataset, near_duplicates: NearDuplicates) -> Dataset:
    leaks = find_leaks(dataset.manifest, near_duplicates)
    if not leaks.all.any():
        return dataset
    dropped = (*dataset.dropped, f"leaks: {leaks.summary(dataset.manifest)}")
    manifest = dataset.manifest.resplit(settle_leaks(spec, dataset.manifest, leaks))
    kept = replace(dataset, manifest=manifest, dropped=dropped)
    try:
        _require_every_class(spec, kept)
    except DataError as error:
        raise DataError(
            f"{error}\n(Left out, {dropped[-1]}.)\nWrite 'splits: drawn' into the dataset's entry "
            "to draw new splits, in which a group is on one side only."
        ) from None
    return kept


def _with_fraction(spec: DatasetSpec, dataset: Dataset, fraction: float, seed: int) -> Dataset:
    train = dataset.rows("train")
    groups = np.unique([dataset.clusters[row] for row in train], return_inverse=True)[1]
    splits = dataset.manifest.splits.copy()
    splits[train[~nested(dataset.labels[train], groups, fraction, seed)]] = UNUSED
    kept = replace(dataset, manifest=dataset.manifest.resplit(splits))
    try:
        _require_every_class(spec, kept)
    except DataError as error:
        raise DataError(f"{error}\n(At train_fraction {fraction:g}.)") from None
    return kept


def _require_every_class(spec: DatasetSpec, dataset: Dataset) -> None:
    rows = np.concatenate([dataset.rows(split) for split in SPLITS])
    splits = dataset.manifest.splits[rows]
    labels, parts = [], []
    for place, name in enumerate(dataset.classes):
        of_class = splits[positives(dataset.labels[rows], place)]
        labels += [name] * len(of_class)
        parts.append(of_class)
    require_every_class(spec.name, labels, np.concatenate(parts), dataset.classes)


def store_plan(
    spec: DatasetSpec,
    manifest: Manifest,
    size: int,
    interpolation: str,
    data_root: Path,
    crop: float | None = None,
) -> StorePlan:
    """Return the store of a dataset's images at a size, without opening it."""
    images = source(spec, data_root)
    stamps = images().stamps(manifest.paths)
    version, arrays = LAYOUTS.version(spec.layout), LAYOUTS.get(spec.layout).are_arrays
    return StorePlan(manifest.paths, stamps, images, size, interpolation, version, crop, arrays)


def open_near_duplicates(
    spec: DatasetSpec, manifest: Manifest, data_root: Path, cache: Path
) -> NearDuplicates:
    """Find the pictures of a dataset that are the same, or look it up where it was found."""
    plan = store_plan(spec, manifest, THUMBNAIL, "bilinear", data_root)
    place = cache / "near_duplicates" / f"{near_duplicates_key(plan)}.npz"
    if (known := load_near_duplicates(place)) is not None:
        return known
    thumbnails = open_store(cache / "stores", plan)
    near_duplicates = find_near_duplicates(thumbnails, plan)
    near_duplicates.save(place)
    return near_duplicates


def _settle_unreadable(spec: DatasetSpec, dataset: Dataset) -> None:
    unreadable, manifest = dataset.store.unreadable, dataset.manifest
    if spec.unreadable == "error":
        shown = [f"{manifest.ids[row]}: {why}" for row, why in unreadable.items()]
        raise DataError(
            f"dataset {spec.name}: {len(unreadable)} of {len(manifest)} images cannot be read:\n"
            f"{listing(shown)}\n"
            "Mend or remove them, or write 'unreadable: skip' into the dataset's entry."
        )
    _require_every_class(spec, dataset)
