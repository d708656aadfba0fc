"""Twins: pictures of a dataset that are the same, exactly or but for their size and encoding.

A picture's signature is its grey thumbnail of 32 x 32 pixels, less its mean and of length one: a
perceptual hash whose bits were not thrown away. Two pictures are alike if their signatures
correlate by `ALIKE` or more. That holds for copies at half and double size and for JPEG at
quality 30, and for hardly any two different pictures of eleven medical and other image sets
(benchmarks/README.md). Alike pictures with the very same pixels are copies.

The search is exact: signatures are turned so that their first few numbers hold most of what
distinguishes them, a k-d tree finds all pairs that are near in these (distance in some dimensions
is at most that in all), and the pairs are then compared in full.
"""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from sweep.base.atomic import write_atomically
from sweep.base.identity import canonical_hash
from sweep.base.processes import cpu_count, run_ordered
from sweep.data.layouts.base import Source
from sweep.data.store.building import KILLED, StorePlan
from sweep.data.store.image_store import Store
from sweep.errors import DataError, SweepError

VERSION = 1  # increase it when a change finds other pairs
THUMBNAIL = 64  # side of the thumbnails that signatures are computed from, in pixels
ALIKE = 0.992
SMALLEST = 16  # side in pixels; different subjects look alike in smaller images

_SIDE = 32
# ITU-R 601 luma, as Pillow converts to grey.
_LUMA = np.asarray([0.299, 0.587, 0.114], dtype=np.float32)
_TREE_DIMENSIONS = 16
_BASIS_FROM = 4096  # samples that the projection is fitted on
_CHUNK = 8192  # thumbnails or pairs processed at once
_DIGESTS_A_JOB = 64
_MOST_PAIRS = 20_000_000


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Which samples show the same picture.

    Attributes:
        copies: number of the set of identical pictures that each sample is in, shape (N,).
        alike: number of the set of pictures that are the same but for size and encoding, (N,);
            it holds the copies.
    """

    copies: NDArray[np.int64]
    alike: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write to `path`, whole or not at all."""

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, copies=self.copies, alike=self.alike)

        write_atomically(path, write)


def load_near_duplicates(path: Path) -> NearDuplicates | None:
    """Read what `NearDuplicates.save` wrote; None if it is not there or damaged."""
    try:
        with np.load(path) as file:
            return NearDuplicates(file["copies"], file["alike"])
    except Exception:  # a damaged cache file may raise any error; it is computed again
        return None


def near_duplicates_key(plan: StorePlan) -> str:
    """Return the identity of the near-duplicates among a store's images."""
    return canonical_hash([VERSION, ALIKE, plan.key])


def find_near_duplicates(thumbnails: Store, plan: StorePlan) -> NearDuplicates:
    """Find all pictures that are the same.

    Args:
        thumbnails: of every sample, at `THUMBNAIL` pixels; unreadable ones have no near_duplicates.
        plan: of the thumbnails; it opens the pictures themselves, to tell copies from those that
            are alike.

    Raises:
        DataError: so many are alike that telling them apart makes no sense.
    """
    count = len(thumbnails)
    readable = _readable(thumbnails)
    signatures_MS = signatures(thumbnails, readable)
    digests = [hashlib.sha256(row.data).hexdigest() for row in signatures_MS]
    _, first, same = np.unique(digests, return_index=True, return_inverse=True)
    first_large = first[thumbnails.originals[readable[first]].min(axis=1) >= SMALLEST]
    near = readable[first_large[_near_pairs(signatures_MS[first_large])]]
    equal = np.stack([readable, readable[first[same]]], axis=1)
    alike = _components(count, np.concatenate([near, equal]))
    return NearDuplicates(_copies(alike, plan), alike)


def same_as_any(thumbnails: Store, others: Store) -> NDArray[np.bool_]:
    """Tell which pictures are the same as any of another store, exactly or nearly, shape (N,).

    Args:
        thumbnails, others: of two data sets, at `THUMBNAIL` pixels.
    """
    found = np.zeros(len(thumbnails), dtype=bool)
    mine, theirs = _readable(thumbnails), _readable(others)
    own_MS, other_KS = signatures(thumbnails, mine), signatures(others, theirs)
    if not len(own_MS) or not len(other_KS):
        return found
    digests = {row.tobytes() for row in other_KS}
    found[mine] = [row.tobytes() in digests for row in own_MS]
    large = mine[thumbnails.originals[mine].min(axis=1) >= SMALLEST]
    theirs_large = others.originals[theirs].min(axis=1) >= SMALLEST
    candidates_KS = other_KS[theirs_large]
    places = np.searchsorted(mine, large)
    for start in range(0, len(large), _CHUNK):
        part = places[start : start + _CHUNK]
        for first in range(0, len(candidates_KS), _CHUNK):
            alike = own_MS[part] @ candidates_KS[first : first + _CHUNK].T >= ALIKE
            found[mine[part]] |= alike.any(axis=1)
    return found


def _readable(store: Store) -> NDArray[np.int64]:
    return np.setdiff1d(np.arange(len(store)), list(store.unreadable))


def _near_pairs(signatures_US: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return all pairs (P, 2) of signatures that correlate by `ALIKE` or more."""
    if len(signatures_US) < 2:
        return np.empty((0, 2), dtype=np.int64)
    radius = float(np.sqrt(2 * (1 - ALIKE)))  # both vectors have unit length
    turned_UT = _project(signatures_US)
    tree = cKDTree(turned_UT)
    some = turned_UT[:: max(1, len(turned_UT) // 1000)]
    neighbours = tree.query_ball_point(some, radius, return_length=True, workers=-1)
    if neighbours.mean() * len(turned_UT) > _MOST_PAIRS:
        raise DataError(
            f"nearly all of {len(signatures_US)} pictures look alike at {_SIDE} pixels, so that "
            "copies among them cannot be told; write 'leaks: allow' to do without"
        )
    pairs_P2 = tree.query_pairs(radius, output_type="ndarray")
    kept = []
    for start in range(0, len(pairs_P2), _CHUNK):
        chunk = pairs_P2[start : start + _CHUNK]
        gaps = signatures_US[chunk[:, 0]] - signatures_US[chunk[:, 1]]
        kept.append(chunk[np.linalg.norm(gaps, axis=1) <= radius])
    return np.concatenate(kept) if kept else pairs_P2


def _project(signatures_US: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the signatures along their first principal axes, (U, at most 16)."""
    step = max(1, len(signatures_US) // _BASIS_FROM)
    sample = signatures_US[::step].astype(np.float64)
    mean = sample.mean(axis=0)
    _, axes = np.linalg.eigh((sample - mean).T @ (sample - mean))
    turned: NDArray[np.float32] = (signatures_US - mean) @ axes[:, -_TREE_DIMENSIONS:]
    return turned


def _components(count: int, pairs_P2: NDArray[np.int64]) -> NDArray[np.int64]:
    ones = np.ones(len(pairs_P2), dtype=bool)
    graph = coo_array((ones, (pairs_P2[:, 0], pairs_P2[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _copies(alike: NDArray[np.int64], plan: StorePlan) -> NDArray[np.int64]:
    """Number the sets of pictures with the very same pixels; only alike ones need be read."""
    sizes = np.bincount(alike)
    members = np.flatnonzero(sizes[alike] > 1)
    names = [plan.names[row] for row in members.tolist()]
    jobs = [
        (plan.source, names[start : start + _DIGESTS_A_JOB])
        for start in range(0, len(names), _DIGESTS_A_JOB)
    ]
    try:
        parts = run_ordered(_pixels_digests, jobs, max(1, min(cpu_count(), len(jobs))))
    except BrokenProcessPool:
        raise SweepError(KILLED) from None
    copies = np.arange(len(alike))
    first: dict[str, int] = {}
    for row, digest in zip(members.tolist(), itertools.chain(*parts), strict=True):
        copies[row] = first.setdefault(digest, row)
    return np.unique(copies, return_inverse=True)[1].astype(np.int64)


def _pixels_digests(source: Callable[[], Source], names: Sequence[str]) -> list[str]:
    """Return a hash of each picture's pixels, however they are encoded."""
    images, digests = source(), []
    for name in names:
        try:
            with images.open(name) as image:
                upright = ImageOps.exif_transpose(image)
                # The image has at most 8 bits per channel.
                if not upright.mode.startswith(("I", "F")):
                    upright = upright.convert("RGB")
                pixels = hashlib.sha256(upright.tobytes()).hexdigest()
        except Exception:  # an image that cannot be decoded in full is no copy of another
            digests.append(name)
            continue
        digests.append(f"{upright.mode} {upright.size} {pixels}")
    return digests


def signatures(thumbnails: Store, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the signature of each of these thumbnails, float32 (len(rows), 1024)."""
    result = np.empty((len(rows), _SIDE * _SIDE), dtype=np.float32)
    block = THUMBNAIL // _SIDE
    for start in range(0, len(rows), _CHUNK):
        images = thumbnails.rows(rows[start : start + _CHUNK])
        blocks = (images @ _LUMA).reshape(len(images), _SIDE, block, _SIDE, block)
        grey = blocks.mean(axis=(2, 4)).reshape(len(images), -1)
        grey -= grey.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(grey, axis=1, keepdims=True)
        result[start : start + len(grey)] = grey / np.maximum(lengths, 1e-6)
    return result
