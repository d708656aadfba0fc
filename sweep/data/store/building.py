"""Building a store: decoding its images in parts, by processes that may die.

Decoders of compressed formats are native code, which a damaged file can crash. A worker writes
down which image it is at, so that after a crash the file can be tried alone, and named.
"""

import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sweep.base import processes
from sweep.base.atomic import write_atomically, write_text
from sweep.base.checksums import sha256
from sweep.base.identity import canonical_hash
from sweep.base.settings import MAX_PIXELS
from sweep.data.io.extras import decoders
from sweep.data.io.images import decode
from sweep.data.layouts.base import Source
from sweep.data.store.mapped import write_rows
from sweep.errors import DataError, SweepError, listing

VERSION = 3  # version of the decoding: increase it when pixels change

_PART_ROWS = 32  # smallest part; large datasets have larger parts
_PARTS = 128
# Formats whose decoders have been fuzzed for decades; others could end the driver itself.
_SAFE_SUFFIXES = {".png", ".jpg", ".jpeg"}
_WORTH_A_PROCESS_S = 4.0  # what is decoded sooner than this is decoded before processes start
_BATCH_BYTES = 8 << 20  # decoded pixels held in memory before they are written
KILLED = (
    "a process that decodes images was killed, perhaps for lack of memory; close other programs "
    "and try again: what was decoded is kept"
)
_CRASHED = "the library that decodes it crashed"
# Errors with a cause outside the file: permissions, a disk, a network, too many open files.
_OF_THE_MACHINE = {
    errno.EACCES, errno.EPERM, errno.EIO, errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN,
    errno.EAGAIN, errno.ENXIO, errno.ENODEV, errno.EBUSY, errno.ENOSPC, errno.ECONNRESET,
}  # fmt: skip
_CRASHED_FILE = "crashed.json"
_OPENED: dict[Path, Source] = {}  # what opens the images of the store that is being built

Progress = Callable[[int, int], None]
_Job = tuple[Path, int, "StorePlan", set[str], int]  # see _build_part


class UnavailableError(DataError):
    """An image cannot be read now, for a reason that is not in its bytes.

    Nothing of it is remembered: the next time it is tried again.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            f"an image cannot be read now:\n{listing(problems)}\n"
            "Mend that, and try again: what was decoded is kept."
        )
        self.problems = problems

    def __reduce__(self) -> tuple[type, tuple[list[str]]]:
        return type(self), (self.problems,)


@dataclass(frozen=True)
class StorePlan:
    """A store that is wanted: of which images, at what size.

    Attributes:
        names: manifest path of each sample.
        stamps: what changes when a sample's bytes change, one a sample.
        source: makes what opens the images by their names, in whatever process decodes them.
        size: side in pixels.
        interpolation: how to resize.
        version: of the code that opens the images, where it is not ours.
        crop: which part of them; see `sweep.data.io.images.decode`.
        are_arrays: the images are no files, which could crash a decoder.
    """

    names: Sequence[str]
    stamps: Sequence[str]
    source: Callable[[], Source]
    size: int
    interpolation: str
    version: str = ""
    crop: float | None = None
    are_arrays: bool = False

    @property
    def key(self) -> str:
        """The identity of the store: the name of its folder."""
        parts = [VERSION, decoders(), list(self.names), list(self.stamps)]
        others: list[object] = [self.version] if self.version else []
        others += [{"crop": self.crop}] if self.crop else []
        return canonical_hash([*parts, self.size, self.interpolation, *others])

    @property
    def pixels(self) -> str:
        """How its pixels are made."""
        return describe_pixels(self.size, self.interpolation, self.crop)

    @property
    def bytes_needed(self) -> int:
        """What the store takes on the disk."""
        return len(self.names) * self.size * self.size * 3

    def is_built(self, folder: Path) -> bool:
        """Tell whether the store lies in a folder of stores."""
        return (folder / self.key / "store.json").is_file()


def describe_pixels(size: int, interpolation: str, crop: float | None) -> str:
    """Return how pixels are made: size, interpolation, and crop if there is one."""
    return f"{size} {interpolation}" + (f" crop {crop!r}" if crop else "")


def build(place: Path, plan: StorePlan, progress: Progress | None) -> None:
    """Decode all images of a store into a folder; parts that are there already are kept.

    An image that crashes its decoder counts as unreadable.

    Raises:
        SweepError: processes die for another reason, such as lack of memory.
    """
    while True:
        try:
            _build_parts(place, plan, progress)
            break
        except BrokenProcessPool:
            guilty = _find_crashing(place, plan)
            if not guilty:
                raise SweepError(KILLED) from None
            _write_crashed(place, _read_crashed(place) | guilty)
        finally:
            _OPENED.clear()
    _conclude(place, plan)


def part_name(part: int, suffix: str) -> str:
    """Return the name of a part's file."""
    return f"{part:04d}{suffix}"


def _starts(count: int) -> tuple[range, int]:
    """Return where each part of so many rows begins, and the rows of a part."""
    rows = max(_PART_ROWS, -(-count // _PARTS))
    return range(0, count, rows), rows


def _unfinished(place: Path, count: int) -> list[int]:
    starts, _ = _starts(count)
    return [p for p in range(len(starts)) if not (place / part_name(p, ".json")).is_file()]


def _build_parts(place: Path, plan: StorePlan, progress: Progress | None) -> None:
    count = len(plan.names)
    starts, rows = _starts(count)
    left, crashed = _unfinished(place, count), _read_crashed(place)
    done = count - sum(min(rows, count - starts[part]) for part in left)
    jobs = [
        (place, part, _part_of(plan, starts[part], rows), crashed, os.getpid()) for part in left
    ]
    for finished in _build_all(jobs, crashes_end_the_driver=_may_crash(plan)):
        done += finished
        if progress:
            progress(done, count)


def _build_all(jobs: list[_Job], crashes_end_the_driver: bool) -> Iterator[int]:
    """Build parts; in this process as long as the rest takes no longer than processes to start."""
    at_once = processes.cpu_count()
    if crashes_end_the_driver:
        yield from processes.run_unordered(_build_part, jobs, max(2, at_once))
        return
    began = time.monotonic()
    for index, job in enumerate(jobs):
        each = (time.monotonic() - began) / max(1, index)
        if at_once > 1 and each * (len(jobs) - index) > _WORTH_A_PROCESS_S:
            _OPENED.clear()  # arrays of a whole data set need not be held here as well
            yield from processes.run_unordered(_build_part, jobs[index:], at_once)
            return
        yield _build_part(*job)


def _part_of(plan: StorePlan, start: int, rows: int) -> StorePlan:
    """Return the plan of some rows alone: what a worker is sent."""
    return replace(plan, names=plan.names[start : start + rows], stamps=())


def _may_crash(plan: StorePlan) -> bool:
    """Tell whether a decoder of an image, by its name, may crash on a damaged file."""
    suffixes = {Path(name).suffix.lower() for name in plan.names}
    return not plan.are_arrays and not suffixes <= _SAFE_SUFFIXES


def _build_part(place: Path, part: int, plan: StorePlan, crashed: set[str], driver: int) -> int:
    """Decode the rows of a part's plan into a file of their own; return how many."""
    _silence(driver)
    decoder = _PartDecoder(plan, _opened(place, plan), crashed)
    # Each process has its own file, since workers of a killed driver may still write this part.
    marker = place / part_name(part, f".{os.getpid()}.at")
    at = os.open(marker, os.O_CREAT | os.O_WRONLY, 0o644)
    try:
        write_atomically(
            place / part_name(part, ".arrow"),
            lambda file: write_rows(file, "image", plan.size**2 * 3, decoder.batches(at)),
        )
    finally:
        os.close(at)
    marker.unlink()
    about = {
        "digest": decoder.digest.hexdigest(),
        "unreadable": decoder.unreadable,
        "originals": decoder.originals.tolist(),
    }
    # This file marks the part as complete.
    write_text(place / part_name(part, ".json"), json.dumps(about))
    return len(plan.names)


def _opened(place: Path, plan: StorePlan) -> Source:
    """Open the source of a store, once for all parts that this process builds."""
    if (source := _OPENED.get(place)) is None:
        _OPENED.clear()
        source = _OPENED[place] = plan.source()
    return source


class _PartDecoder:
    """Decodes the images of a part in batches, and notes their sizes and what cannot be read."""

    def __init__(self, plan: StorePlan, source: Source, crashed: set[str]) -> None:
        self._plan, self._images, self._crashed = plan, source, crashed
        self.digest = hashlib.sha256()
        self.unreadable: dict[int, str] = {}
        self.originals = np.zeros((len(plan.names), 2), dtype=np.int32)

    def batches(self, at: int) -> Iterator[NDArray[np.uint8]]:
        """Yield the pixels (B, S, S, 3); write the row under way into the open file `at`."""
        names, size = self._plan.names, self._plan.size
        batch = max(1, _BATCH_BYTES // (size * size * 3))
        for start in range(0, len(names), batch):
            count = min(batch, len(names) - start)
            pixels_BSSC = np.zeros((count, size, size, 3), dtype=np.uint8)
            for slot in range(count):
                if names[start + slot] in self._crashed:
                    self.unreadable[start + slot] = _CRASHED
                    continue
                os.pwrite(at, (start + slot).to_bytes(8, "little"), 0)
                self._decode(start + slot, pixels_BSSC[slot])
            self.digest.update(pixels_BSSC.data)
            yield pixels_BSSC

    def _decode(self, row: int, pixels_SSC: NDArray[np.uint8]) -> None:
        name = self._plan.names[row]
        try:
            image = self._images.open(name)
            self.originals[row] = image.size
            pixels_SSC[:] = decode(
                image, self._plan.size, self._plan.interpolation, self._plan.crop
            )
        except Exception as error:  # decoders raise many kinds of errors on damaged files
            if _is_transient(error):
                raise UnavailableError([f"{name}: {_describe(error)}"]) from None
            self.unreadable[row] = _reason(name, error)


def _find_crashing(place: Path, plan: StorePlan) -> set[str]:
    """Return the images that crash their decoder, of those that workers were at."""
    starts, _ = _starts(len(plan.names))
    suspects = set()
    for part in _unfinished(place, len(plan.names)):
        for marker in place.glob(part_name(part, ".*.at")):
            if at := marker.read_bytes():
                suspects.add(plan.names[starts[part] + int.from_bytes(at, "little")])
            marker.unlink()
    return {name for name in suspects - _read_crashed(place) if _crashes(plan, name)}


def _crashes(plan: StorePlan, name: str) -> bool:
    try:
        job = (replace(plan, names=(), stamps=()), name, os.getpid())
        processes.run_ordered(_try, [job], 2)
    except BrokenProcessPool:
        return True
    return False


def _try(plan: StorePlan, name: str, driver: int) -> None:
    _silence(driver)
    try:
        decode(plan.source().open(name), plan.size, plan.interpolation, plan.crop)
    except Exception:
        return  # the part failed with an error; it did not crash


def _silence(driver: int) -> None:
    """Let native decoders complain to nobody, in a process that is not the driver's."""
    if os.getpid() != driver:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def _read_crashed(place: Path) -> set[str]:
    path = place / _CRASHED_FILE
    return set(json.loads(path.read_text("utf-8"))) if path.is_file() else set()


def _write_crashed(place: Path, names: set[str]) -> None:
    write_text(place / _CRASHED_FILE, json.dumps(sorted(names)))


def _is_transient(error: Exception) -> bool:
    """Tell a failure of the machine, which may pass, from what a decoder says of the bytes."""
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno in _OF_THE_MACHINE
    )


def _describe(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "there is not memory enough to decode it"
    return str(getattr(error, "strerror", None) or error)


def _reason(name: str, error: Exception) -> str:
    """Say why an image cannot be read, without its name: the cache is not for names."""
    file = re.escape(Path(name.rpartition("#")[0] or name).name)
    text = re.sub(rf"'[^']*{file}'|{file}", "the file", str(error))
    if isinstance(error, Image.DecompressionBombError):
        text += f"; to read it, set {MAX_PIXELS} to more"
    return f"{type(error).__name__}: {text}".splitlines()[0]


def _conclude(place: Path, plan: StorePlan) -> None:
    """Gather what the parts say of themselves; with its ``store.json`` the store is whole."""
    starts, rows = _starts(len(plan.names))
    digest = hashlib.sha256()
    unreadable: dict[int, str] = {}
    originals: list[list[int]] = []
    for part in range(len(starts)):
        path = place / part_name(part, ".json")
        about = json.loads(path.read_text())
        digest.update(about["digest"].encode())
        unreadable |= {part * rows + int(row): why for row, why in about["unreadable"].items()}
        originals += about["originals"]
        path.unlink()
    for leftover in [*place.glob("*.at"), *place.glob(".*"), place / _CRASHED_FILE]:
        leftover.unlink(missing_ok=True)
    digest.update(json.dumps(sorted(unreadable)).encode())
    np.save(place / "originals.npy", np.asarray(originals, dtype=np.int32).reshape(-1, 2))
    about = {
        "size": plan.size,
        "rows": len(plan.names),
        "parts": len(starts),
        "fingerprint": digest.hexdigest()[:20],
        "unreadable": unreadable,
        "sha256": [sha256(place / part_name(part, ".arrow")) for part in range(len(starts))],
    }
    write_text(place / "store.json", json.dumps(about))
