"""A dataset ready to train on: its manifest, its splits and its decoded images."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweep.data.images import opener
from sweep.data.layouts import location, read_samples
from sweep.data.manifest import Manifest
from sweep.data.splits import assign_splits, require_every_class
from sweep.data.store import Progress, Store, open_store, store_key
from sweep.errors import DataError, listing
from sweep.identity import canonical_hash
from sweep.space import DatasetSpec, Split


@dataclass(frozen=True, eq=False)
class Dataset:
    """The samples of a dataset and their images; row i of the store is sample i."""

    manifest: Manifest
    store: Store

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the indices of the readable samples of a split, ascending."""
        readable = np.ones(len(self.manifest), dtype=bool)
        readable[list(self.store.unreadable)] = False
        return np.flatnonzero((self.manifest.splits == split) & readable)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class indices of all samples, shape (N,)."""
        return self.manifest.labels

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the labels."""
        return self.manifest.classes

    def fingerprint(self) -> str:
        """Return a hash of pixels, labels and splits."""
        labels, splits = self.labels.tolist(), self.manifest.splits.tolist()
        return canonical_hash(
            [self.store.fingerprint, self.classes, self.manifest.ids, labels, splits]
        )


def default_cache() -> Path:
    """Return ``$SWEEP_CACHE``, else ``~/.cache/sweep``: safe to delete, shared by all sweeps."""
    return Path(os.environ.get("SWEEP_CACHE") or "~/.cache/sweep").expanduser()


@lru_cache(maxsize=16)
def read_manifest(spec: DatasetSpec, split: Split, data_root: Path) -> Manifest:
    """Read a dataset's samples and assign their splits.

    Raises DataError if it is not there, not in its layout, or cannot be split.
    """
    samples = read_samples(spec, data_root)
    return Manifest.of(samples, assign_splits(spec.name, samples, split))


def open_dataset(
    spec: DatasetSpec,
    split: Split,
    size: int,
    interpolation: str,
    data_root: Path,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Open a dataset with its images decoded at `size` pixels, decoding them if need be.

    Raises DataError if it cannot be read, or holds unreadable images that it may not skip.
    """
    manifest = read_manifest(spec, split, data_root)
    store = open_store(
        (cache or default_cache()) / "stores",
        manifest.paths,
        _stamps(spec, manifest, data_root),
        lambda: opener(spec, data_root),
        size,
        interpolation,
        progress,
    )
    dataset = Dataset(manifest, store)
    if store.unreadable:
        _settle_unreadable(spec, dataset)
    return dataset


def is_decoded(
    spec: DatasetSpec,
    split: Split,
    size: int,
    interpolation: str,
    data_root: Path,
    cache: Path | None = None,
) -> bool:
    """Tell whether the images of a dataset that is there lie decoded in the cache."""
    manifest = read_manifest(spec, split, data_root)
    key = store_key(manifest.paths, _stamps(spec, manifest, data_root), size, interpolation)
    return ((cache or default_cache()) / "stores" / key / "store.json").is_file()


def _settle_unreadable(spec: DatasetSpec, dataset: Dataset) -> None:
    unreadable, manifest = dataset.store.unreadable, dataset.manifest
    if spec.unreadable == "error":
        shown = [f"{manifest.ids[row]}: {why}" for row, why in unreadable.items()]
        raise DataError(
            f"dataset {spec.name}: {len(unreadable)} of {len(manifest)} images cannot be read:\n"
            f"{listing(shown)}\n"
            "Mend or remove them, or write 'unreadable: skip' into the dataset's entry."
        )
    kept = [row for row in range(len(manifest)) if row not in unreadable]
    labels = [manifest.classes[label] for label in manifest.labels[kept]]
    require_every_class(spec.name, labels, manifest.splits[kept])


def _stamps(spec: DatasetSpec, manifest: Manifest, data_root: Path) -> list[str]:
    """Return what changes when a sample's bytes do: size and time of its file."""
    path = location(spec, data_root)
    if spec.layout == "digits":
        return ["digits"]
    if spec.layout == "medmnist":
        return [_stamp(path)]
    root = path if path.is_dir() else path.parent
    return [_stamp(root / name) for name in manifest.paths]


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
