"""Leaks: training samples that are, or belong with, samples of the test split.

A leaking sample makes test scores too good. It is dropped from the split in which it is learnt
from or chosen by, never from the test split: training gives way to validation, and both to test.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.data.manifest import SPLITS, UNUSED, Manifest
from sweep.data.quality.near_duplicates import NearDuplicates
from sweep.errors import DataError, listing
from sweep.space.specs import DatasetSpec


@dataclass(frozen=True, eq=False)
class Leaks:
    """The samples of train and val that have a counterpart in a later split.

    Attributes:
        copies: the very same picture, mask (N,).
        alike: the same picture in another size or encoding, mask (N,); without the copies.
        groups: another picture of a group (a patient) that is there too, mask (N,).
    """

    copies: NDArray[np.bool_]
    alike: NDArray[np.bool_]
    groups: NDArray[np.bool_]

    @property
    def all(self) -> NDArray[np.bool_]:
        """The samples that leak, in whatever way, mask (N,)."""
        return self.copies | self.alike | self.groups

    def summary(self, manifest: Manifest) -> str:
        """Say how many samples leak and how, in words without names."""
        reasons = {
            "copies of pictures in a later split": self.copies,
            "the same but for size or encoding": self.alike & ~self.copies,
            "of a group that is there too": self.groups & ~self.copies & ~self.alike,
        }
        listed = ", ".join(
            f"{int(mask.sum())} {why}" for why, mask in reasons.items() if mask.any()
        )
        leaking = manifest.splits[self.all]
        shares = {p: ((leaking == p).sum(), (manifest.splits == p).sum()) for p in SPLITS}
        parts = " and ".join(f"{n:,} of {of:,} in {p}" for p, (n, of) in shares.items() if n)
        return f"{parts} ({listed})"


def find_leaks(manifest: Manifest, near_duplicates: NearDuplicates) -> Leaks:
    """Find the samples of train and val that have a counterpart in a later split."""
    groups = np.unique(manifest.groups, return_inverse=True)[1]
    return Leaks(
        _reappearing(near_duplicates.copies, manifest.splits),
        _reappearing(near_duplicates.alike, manifest.splits),
        _reappearing(groups, manifest.splits),
    )


def settle_leaks(spec: DatasetSpec, manifest: Manifest, leaks: Leaks) -> NDArray[np.str_]:
    """Return the splits without the samples that leak.

    Raises DataError, naming them, if the dataset's `leaks` is ``error`` and there are any.
    """
    if spec.leaks == "error" and leaks.all.any():
        names = [manifest.ids[row] for row in np.flatnonzero(leaks.all)]
        raise DataError(
            f"dataset {spec.name}: samples leak into a later split, {leaks.summary(manifest)}:\n"
            f"{listing(names)}\n"
            f"See all with 'sweep data check'; 'leaks: drop' leaves them out of training."
        )
    return np.where(leaks.all, UNUSED, manifest.splits)


def _reappearing(set_of: NDArray[np.int64], splits: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Tell for each sample whether its set has a member in a later split."""
    place = {part: index for index, part in enumerate((UNUSED, *SPLITS))}
    order = np.asarray([place[str(part)] for part in splits])
    last = np.zeros(int(set_of.max()) + 1, dtype=np.int64)
    np.maximum.at(last, set_of, order)
    return (order > 0) & (order < last[set_of])
