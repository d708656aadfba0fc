"""The store: the decoded images of a dataset at one size. Decode once, memory-map ever after.

On disk a folder of Arrow files, each a part of the rows, and ``store.json``. The parts are
decoded by as many processes as there are CPUs, beside the store's place and under a lock; what
a process that died had finished is kept. The folder is moved to its place in one step, so that
a reader sees it whole or not at all.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray

from sweep.atomic import write_text
from sweep.data.extras import decoders
from sweep.data.images import decode
from sweep.data.layouts.base import Source
from sweep.data.mapped import MappedRows, write_rows
from sweep.errors import SweepError
from sweep.identity import canonical_hash

VERSION = 2  # of the pixels: raise it when decoding changes

_PART_ROWS = 32  # or more, so that there are at most
_PARTS = 128
_BATCH_BYTES = 8 << 20  # decoded before they are written

Progress = Callable[[int, int], None]


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


@dataclass(frozen=True)
class StorePlan:
    """A store that is wanted: of which images, at what size.

    Attributes:
        names: manifest path of each sample.
        stamps: what changes when a sample's bytes change, one a sample.
        source: makes what opens the images by their names, in whatever process decodes them.
        size: side in pixels.
        interpolation: how to resize.
    """

    names: Sequence[str]
    stamps: Sequence[str]
    source: Callable[[], Source]
    size: int
    interpolation: str

    @property
    def key(self) -> str:
        """The identity of the store: the name of its folder."""
        parts = [VERSION, decoders(), list(self.names), list(self.stamps)]
        return canonical_hash([*parts, self.size, self.interpolation])

    @property
    def bytes_needed(self) -> int:
        """What the store takes on the disk."""
        return len(self.names) * self.size * self.size * 3

    def is_built(self, folder: Path) -> bool:
        """Tell whether the store lies in a folder of stores."""
        return (folder / self.key / "store.json").is_file()


def open_store(folder: Path, plan: StorePlan, progress: Progress | None = None) -> Store:
    """Open a store in the folder of all stores, building it first if need be.

    Args:
        progress: called with (done, all) while decoding.

    Raises:
        SweepError: the disk is full.
    """
    key = plan.key
    place = folder / key
    if (store := _load(place)) is not None:
        return store
    with _no_space_in_words(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{key}.lock"):
            if (store := _load(place)) is not None:  # built while we waited
                return store
            shutil.rmtree(place, ignore_errors=True)
            unfinished = folder / f".{key}.building"
            _require_space(folder, plan, unfinished)
            unfinished.mkdir(exist_ok=True)
            try:
                _build(unfinished, plan, progress)
            except OSError:  # give the space back
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            unfinished.replace(place)
    store = _load(place)
    if store is None:
        raise SweepError(f"the store {place} cannot be read back; delete it and try again")
    return store


def _load(place: Path) -> Store | None:
    """Return the store at `place`, or None if there is none or it is damaged."""
    try:
        about = json.loads((place / "store.json").read_text())
        size, count = int(about["size"]), int(about["parts"])
        parts = [place / _name(part, ".arrow") for part in range(count)]
        images = MappedRows.open(parts, "image", np.uint8, (size, size, 3))
        if len(images) != about["rows"]:
            return None
        originals = np.load(place / "originals.npy")
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
    unreadable = {int(row): why for row, why in about["unreadable"].items()}
    return Store(size, about["fingerprint"], unreadable, originals, images)


def _build(place: Path, plan: StorePlan, progress: Progress | None) -> None:
    count = len(plan.names)
    rows = max(_PART_ROWS, -(-count // _PARTS))
    starts = range(0, count, rows)
    left = [part for part in range(len(starts)) if not (place / _name(part, ".json")).is_file()]
    done = count - sum(min(rows, count - starts[part]) for part in left)
    jobs = (
        joblib.delayed(_build_part)(
            place,
            part,
            plan.names[starts[part] : starts[part] + rows],
            plan.source,
            plan.size,
            plan.interpolation,
        )
        for part in left
    )
    workers = joblib.Parallel(
        n_jobs=min(joblib.cpu_count(), max(1, len(left))), return_as="generator_unordered"
    )
    with warnings.catch_warnings():
        # A worker that grew by large pictures is replaced; nothing is lost by that.
        warnings.filterwarnings("ignore", "A worker stopped")
        for finished in workers(jobs):
            done += finished
            if progress:
                progress(done, count)
    _conclude(place, plan, len(starts), rows)


def _build_part(
    place: Path,
    part: int,
    names: Sequence[str],
    source: Callable[[], Source],
    size: int,
    interpolation: str,
) -> int:
    """Decode some rows into a file of their own; return how many."""
    images, digest = source(), hashlib.sha256()
    unreadable: dict[int, str] = {}
    originals = np.zeros((len(names), 2), dtype=np.int32)
    batch = max(1, _BATCH_BYTES // (size * size * 3))

    def batches() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(names), batch):
            chosen = names[start : start + batch]
            rows = np.zeros((len(chosen), size, size, 3), dtype=np.uint8)
            for slot, name in enumerate(chosen):
                try:
                    image = images.open(name)
                    originals[start + slot] = image.size
                    rows[slot] = decode(image, size, interpolation)
                except Exception as error:  # libraries raise nearly anything on damaged files
                    unreadable[start + slot] = _reason(name, error)
            digest.update(rows.data)
            yield rows

    path = place / _name(part, ".arrow")
    write_rows(path, "image", size * size * 3, batches())
    with path.open("rb") as file:
        os.fsync(file.fileno())
    about = {
        "digest": digest.hexdigest(),
        "unreadable": unreadable,
        "originals": originals.tolist(),
    }
    write_text(place / _name(part, ".json"), json.dumps(about))  # now the part counts as done
    return len(names)


def _reason(name: str, error: Exception) -> str:
    """Say why an image cannot be read, without its name: the cache is not for names."""
    file = re.escape(Path(name.rpartition("#")[0] or name).name)
    said = re.sub(rf"'[^']*{file}'|{file}", "the file", str(error))
    return f"{type(error).__name__}: {said}".splitlines()[0]


def _conclude(place: Path, plan: StorePlan, parts: int, rows: int) -> None:
    digest = hashlib.sha256()
    unreadable: dict[int, str] = {}
    originals: list[list[int]] = []
    for part in range(parts):
        path = place / _name(part, ".json")
        about = json.loads(path.read_text())
        digest.update(about["digest"].encode())
        unreadable |= {part * rows + int(row): why for row, why in about["unreadable"].items()}
        originals += about["originals"]
        path.unlink()
    digest.update(json.dumps(sorted(unreadable)).encode())
    np.save(place / "originals.npy", np.asarray(originals, dtype=np.int32).reshape(-1, 2))
    about = {
        "size": plan.size,
        "rows": len(plan.names),
        "parts": parts,
        "fingerprint": digest.hexdigest()[:20],
        "unreadable": unreadable,
    }
    write_text(place / "store.json", json.dumps(about))


def _name(part: int, suffix: str) -> str:
    return f"{part:04d}{suffix}"


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
