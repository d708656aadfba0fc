"""Grouped, stratified splits: no group in two splits, every class in every split."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweep.data.manifest import SPLITS, Sample
from sweep.errors import DataError, listing
from sweep.space import Split


def assign_splits(name: str, samples: Sequence[Sample], split: Split) -> list[str]:
    """Return the split of every sample; those the dataset does not bring are carved from train.

    `split.test` and `split.val` are fractions of the whole dataset where it brings no split,
    and of its training part where it brings one. Same samples and seed, same splits.

    Raises DataError if a class is too small to be in every split, or if a group lies in two
    splits that the dataset brings.
    """
    given = [sample.split or "train" for sample in samples]
    brought = {sample.split for sample in samples if sample.split}
    missing = [part for part in ("test", "val") if part not in brought]
    _refuse_small_classes(name, samples, given, missing)
    _refuse_shared_groups(name, samples, given)
    labels = np.unique([sample.label for sample in samples], return_inverse=True)[1]
    groups = np.unique([sample.group for sample in samples], return_inverse=True)[1]
    assigned = np.asarray(given, dtype="<U5")
    whole = int((assigned == "train").sum())
    rng = np.random.default_rng(split.seed)
    for part in missing:
        train = np.flatnonzero(assigned == "train")
        count = whole * (split.test if part == "test" else split.val)
        carved = carve(labels[train], groups[train], count / len(train), rng)
        assigned[train[carved]] = part
    require_every_class(name, [sample.label for sample in samples], assigned)
    return [str(item) for item in assigned]


def carve(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    fraction: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Choose whole groups that hold about `fraction` of every class.

    Greedy: groups from large to small, in random order among equals; each is taken if that
    keeps the taken share of every class, among the groups seen so far, nearer to `fraction`. So
    large and small groups alike are taken in that share: patients with many images are not all
    on one side. Then classes that are only on one side get their smallest group moved.

    Args:
        labels: class indices, shape (N,).
        groups: group indices, shape (N,).
        fraction: share wanted, between 0 and 1.
        rng: decides among equals.

    Returns:
        Mask of the chosen samples, shape (N,).
    """
    units, unit_of = np.unique(groups, return_inverse=True)
    counts_GC = np.zeros((len(units), int(labels.max()) + 1), dtype=np.int64)
    np.add.at(counts_GC, (unit_of, labels), 1)
    totals_C = np.maximum(counts_GC.sum(axis=0), 1)
    shuffled = rng.permutation(len(units))
    order = shuffled[np.argsort(-counts_GC[shuffled].sum(axis=1), kind="stable")]
    taken = np.zeros(len(units), dtype=bool)
    surplus_C = np.zeros(len(totals_C))  # taken, less the fraction of those seen
    for unit in order:
        left_C = surplus_C - fraction * counts_GC[unit]
        taken_C = left_C + counts_GC[unit]
        taken[unit] = ((taken_C / totals_C) ** 2).sum() < ((left_C / totals_C) ** 2).sum()
        surplus_C = taken_C if taken[unit] else left_C
    _mend(taken, counts_GC)
    return np.asarray(taken[unit_of])


def _mend(taken: NDArray[np.bool_], counts_GC: NDArray[np.int64]) -> None:
    """Move the smallest group of a class that has none on one side, where one can be spared."""
    for side in (True, False):
        for c in range(counts_GC.shape[1]):
            if counts_GC[taken == side, c].any() or not counts_GC[:, c].any():
                continue
            other_C = counts_GC[taken != side].sum(axis=0)
            for unit in np.argsort(counts_GC.sum(axis=1), kind="stable"):
                holds_class = counts_GC[unit, c] > 0 and taken[unit] != side
                if holds_class and ((other_C - counts_GC[unit] > 0) | (counts_GC[unit] == 0)).all():
                    taken[unit] = side
                    break


def require_every_class(name: str, labels: Sequence[str], splits: NDArray[np.str_]) -> None:
    """Raise DataError if a class is absent from a split."""
    problems = []
    for part in SPLITS:
        present = {label for label, own in zip(labels, splits, strict=True) if own == part}
        absent = sorted(set(labels) - present)
        problems += [f"class {label!r} has no sample in {part}" for label in absent]
    if problems:
        raise DataError(
            f"dataset {name}: every class must be in every split:\n{listing(problems)}\n"
            "Add samples of these classes, leave the classes out, or change the split."
        )


def _refuse_small_classes(
    name: str, samples: Sequence[Sample], given: list[str], missing: list[str]
) -> None:
    groups_of: dict[str, set[str]] = defaultdict(set)
    for sample, part in zip(samples, given, strict=True):
        if part == "train":
            groups_of[sample.label].add(sample.group)
    labels = {sample.label for sample in samples}
    if len(labels) < 2:
        only = "".join(labels) or "none"
        raise DataError(f"dataset {name}: two classes at least are needed, found: {only}")
    need = 1 + len(missing)
    small = [
        f"class {label!r} has {len(groups_of[label])} (samples, or groups of them)"
        for label in sorted(labels)
        if 0 < len(groups_of[label]) < need
    ]
    if small:
        raise DataError(
            f"dataset {name}: a class needs {need} independent samples at least, one for each of "
            f"{', '.join(['train', *missing])}:\n{listing(small)}\n"
            "Add samples of these classes, or leave the classes out."
        )


def _refuse_shared_groups(name: str, samples: Sequence[Sample], given: list[str]) -> None:
    seen: dict[str, set[str]] = defaultdict(set)
    for sample, part in zip(samples, given, strict=True):
        seen[sample.group].add(part)
    shared = [
        f"group {group!r} is in {' and '.join(sorted(parts))}"
        for group, parts in seen.items()
        if len(parts) > 1
    ]
    if shared:
        raise DataError(
            f"dataset {name}: {len(shared)} groups lie in more than one of its own splits, so its "
            f"test scores would be too good:\n{listing(shared)}\n"
            "Move each group to one split, or leave the split out and sweep draws a clean one."
        )
