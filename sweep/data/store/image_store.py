"""The store: the decoded images of a dataset at one size. Decode once, memory-map ever after.

On disk a folder of Arrow files, each a part of the rows, and ``store.json``. The parts are
decoded by as many processes as there are CPUs, beside the store's place and under a lock; what
a process that died had finished is kept. The folder is moved to its place in one step, so that
a reader sees it whole or not at all.
"""

import errno
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray

from sweep.base.checksums import sha256
from sweep.base.removal import delete_one, delete_written
from sweep.data.store.building import Progress, StorePlan, build, part_name
from sweep.data.store.mapped import MappedRows
from sweep.errors import SweepError

_FILES = re.compile(r"\..*|\d{4}\.(arrow|json|\d+\.at)|originals\.npy|crashed\.json|store\.json")


@dataclass(frozen=True)
class Store:
    """Decoded images, read from the memory map.

    Attributes:
        size: side of the images in pixels.
        fingerprint: hash of every pixel and of which images are unreadable.
        unreadable: row index -> why it could not be decoded; such rows are black.
        originals: width and height of each picture before it was resized, shape (N, 2).
    """

    size: int
    fingerprint: str
    unreadable: dict[int, str]
    originals: NDArray[np.int32]
    _images: MappedRows

    @classmethod
    def of(cls, images: NDArray[np.uint8], fingerprint: str) -> "Store":
        """Return a store in memory of images (N, S, S, 3), for a notebook or a test."""
        size = images.shape[1]
        originals = np.full((len(images), 2), size, dtype=np.int32)
        return cls(size, fingerprint, {}, originals, MappedRows([images]))

    def __len__(self) -> int:
        return len(self._images)

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images at `indices` as a new array (len(indices), size, size, 3)."""
        return np.asarray(self._images.rows(indices), dtype=np.uint8)


def open_store(
    folder: Path, plan: StorePlan, progress: Progress | None = None, verify: bool = False
) -> Store:
    """Open a store in the folder of all stores, building it first if need be.

    Args:
        progress: called with (done, all) while decoding.
        verify: read all of it and compare it with its SHA-256; one that differs is built anew.

    Raises:
        SweepError: the disk is full.
    """
    key = plan.key
    place = folder / key
    if (store := _load(place, verify)) is not None:
        return store
    with _no_space_in_words(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{key}.lock"):
            # Another process built it while this one waited for the lock.
            if (store := _load(place, verify)) is not None:
                return store
            _delete(place)
            unfinished = folder / f".{key}.building"
            _require_space(folder, plan, unfinished)
            unfinished.mkdir(exist_ok=True)
            try:
                build(unfinished, plan, progress)
            except OSError:  # a partial store would occupy the disk
                _delete(unfinished)
                raise
            _put_in_place(unfinished, place)
    store = _load(place)
    if store is None:
        raise SweepError(f"the store {place} cannot be read back; delete it and try again")
    return store


def _delete(place: Path) -> None:
    """Delete the files of a store, whole or half built, and its folder if nothing else is there."""
    if place.is_dir():
        delete_written(place, lambda name: _FILES.fullmatch(name) is not None)
        delete_one(place)


def _put_in_place(unfinished: Path, place: Path) -> None:
    try:
        unfinished.replace(place)
    except OSError as error:
        raise SweepError(
            f"{place} is in the way of decoded images ({error.strerror}): move away what is in it, "
            "or set SWEEP_CACHE elsewhere"
        ) from None


def _load(place: Path, verify: bool = False) -> Store | None:
    """Return the store at `place`, or None if there is none or it is damaged."""
    try:
        about = json.loads((place / "store.json").read_text())
        size, count = int(about["size"]), int(about["parts"])
        parts = [place / part_name(part, ".arrow") for part in range(count)]
        images = MappedRows.open(parts, "image", np.uint8, (size, size, 3))
        if len(images) != about["rows"]:
            return None
        if verify and [sha256(part) for part in parts] != about["sha256"]:
            return None
        originals = np.load(place / "originals.npy")
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
    unreadable = {int(row): why for row, why in about["unreadable"].items()}
    return Store(size, about["fingerprint"], unreadable, originals, images)


def _require_space(folder: Path, plan: StorePlan, unfinished: Path) -> None:
    built = sum(path.stat().st_size for path in unfinished.glob("*.arrow"))
    needed = plan.bytes_needed - built
    if shutil.disk_usage(folder).free < needed * 1.02:
        raise SweepError(f"{_full(folder)} {needed / 2**20:,.0f} MiB are needed.")


@contextmanager
def _no_space_in_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SweepError(_full(folder)) from None
        raise


def _full(folder: Path) -> str:
    return f"no space left for decoded images in {folder}; free some, or set SWEEP_CACHE elsewhere."
