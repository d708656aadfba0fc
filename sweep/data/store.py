"""The store: the decoded images of a dataset at one size. Decode once, memory-map ever after.

On disk a folder of ``images.arrow`` (fixed-size rows in record batches of equal length) and
``store.json``. It is built beside its place under a lock and moved there in one step, so that
a reader sees it whole or not at all, whoever else builds or dies.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray

from sweep.data.images import Opener, decode
from sweep.errors import SweepError
from sweep.identity import canonical_hash

VERSION = 1  # of the pixels: raise it when decoding changes
_BATCH_BYTES = 8 << 20

Progress = Callable[[int, int], None]
Decoded = NDArray[np.uint8] | str  # or why not


@dataclass(frozen=True)
class Store:
    """Decoded images, read from the memory map.

    Attributes:
        size: side of the images in pixels.
        fingerprint: hash of every pixel and of which images are unreadable.
        unreadable: row index -> why it could not be decoded; such rows are black.
    """

    size: int
    fingerprint: str
    unreadable: dict[int, str]
    _batches: list[NDArray[np.uint8]]
    _batch_rows: int

    def __len__(self) -> int:
        return sum(len(batch) for batch in self._batches)

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images at `indices` as a new array (len(indices), size, size, 3)."""
        images = np.empty((len(indices), self.size, self.size, 3), dtype=np.uint8)
        for slot, index in enumerate(np.asarray(indices).tolist()):
            batch, row = divmod(index, self._batch_rows)
            images[slot] = self._batches[batch][row]
        return images


def open_store(
    folder: Path,
    names: Sequence[str],
    stamps: Sequence[str],
    opener: Callable[[], Opener],
    size: int,
    interpolation: str,
    progress: Progress | None = None,
) -> Store:
    """Open the store of these samples, building it first if need be.

    Args:
        folder: where all stores are.
        names: manifest path of each sample.
        stamps: what changes when a sample's bytes change, one a sample.
        opener: makes the function that opens a sample by its name.
        size: side in pixels.
        interpolation: how to resize.
        progress: called with (done, all) while decoding.

    Raises:
        SweepError: the disk is full.
    """
    key = store_key(names, stamps, size, interpolation)
    place = folder / key
    if (store := _load(place)) is not None:
        return store
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{key}.lock"):
        if (store := _load(place)) is not None:  # built while we waited
            return store
        unfinished = folder / f".{key}.building"
        shutil.rmtree(unfinished, ignore_errors=True)  # its builder died: we hold the lock
        shutil.rmtree(place, ignore_errors=True)
        _require_space(folder, len(names) * size * size * 3)
        unfinished.mkdir()
        try:
            _build(unfinished, names, opener(), size, interpolation, progress)
            unfinished.replace(place)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            if error.errno == errno.ENOSPC:
                raise SweepError(_full(folder)) from None
            raise
    store = _load(place)
    if store is None:
        raise SweepError(f"the store {place} cannot be read back; delete it and try again")
    return store


def store_key(names: Sequence[str], stamps: Sequence[str], size: int, interpolation: str) -> str:
    """Return the identity of a store: the name of its folder."""
    return canonical_hash([VERSION, list(names), list(stamps), size, interpolation])


def _load(place: Path) -> Store | None:
    """Return the store at `place`, or None if there is none or it is damaged."""
    try:
        about = json.loads((place / "store.json").read_text())
        source = pa.memory_map(str(place / "images.arrow"))
        table = pa.ipc.open_file(source).read_all()
        size = int(about["size"])
        batches = [
            np.frombuffer(chunk.buffers()[1], dtype=np.uint8).reshape(-1, size, size, 3)
            for chunk in table["image"].chunks
        ]
        if table.num_rows != about["rows"]:
            return None
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
    unreadable = {int(row): why for row, why in about["unreadable"].items()}
    return Store(size, about["fingerprint"], unreadable, batches, int(about["batch_rows"]))


def _build(
    place: Path,
    names: Sequence[str],
    open_image: Opener,
    size: int,
    interpolation: str,
    progress: Progress | None,
) -> None:
    row_bytes = size * size * 3
    batch_rows = max(1, _BATCH_BYTES // row_bytes)
    schema = pa.schema([("image", pa.binary(row_bytes))])
    digest = hashlib.sha256()
    unreadable: dict[int, str] = {}

    def read(name: str) -> Decoded:
        try:
            return decode(open_image(name), size, interpolation)
        except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
            return f"{type(error).__name__}: {error}".splitlines()[0]

    done = 0
    with (
        pa.OSFile(str(place / "images.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for batch in _decoded(names, read, batch_rows):
            rows = np.zeros((len(batch), size, size, 3), dtype=np.uint8)
            for slot, item in enumerate(batch):
                if isinstance(item, str):
                    unreadable[done + slot] = item
                else:
                    rows[slot] = item
            digest.update(rows.tobytes())
            array = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(row_bytes), len(rows), [None, pa.py_buffer(rows)]
            )
            writer.write_batch(pa.record_batch([array], schema=schema))
            done += len(batch)
            if progress:
                progress(done, len(names))
    digest.update(json.dumps(sorted(unreadable)).encode())
    about = {
        "size": size,
        "rows": len(names),
        "batch_rows": batch_rows,
        "fingerprint": digest.hexdigest()[:20],
        "unreadable": unreadable,
    }
    with (place / "store.json").open("w") as file:
        json.dump(about, file)
        file.flush()
        os.fsync(file.fileno())


def _decoded(
    names: Sequence[str], read: Callable[[str], Decoded], batch_rows: int
) -> Iterator[list[Decoded]]:
    # Pillow releases the interpreter while it decodes and resizes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(names), batch_rows):
            yield list(pool.map(read, names[start : start + batch_rows]))


def _require_space(folder: Path, needed: int) -> None:
    if shutil.disk_usage(folder).free < needed * 1.02:
        raise SweepError(f"{_full(folder)} {needed / 2**20:,.0f} MiB are needed.")


def _full(folder: Path) -> str:
    return f"no space left for decoded images in {folder}; free some, or set SWEEP_CACHE elsewhere."
