"""Grouped, stratified splits, folds and fractions: groups stay whole, classes in proportion."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweep.data.manifest import SPLITS, UNUSED, Sample
from sweep.data.multilabel import labels_of
from sweep.errors import DataError, listing
from sweep.space.recipe import Split


def assign_splits(
    name: str,
    samples: Sequence[Sample],
    split: Split,
    fold: int = 0,
    partition: int = 0,
    left_out: NDArray[np.bool_] | None = None,
    multilabel: bool = False,
) -> NDArray[np.str_]:
    """Return the split of every sample; those the dataset does not bring are carved from train.

    `split.test` and `split.val` are fractions of the whole dataset where it brings no test split,
    and of its other samples where it brings one. Same samples and seed, same splits. With
    `split.folds`, a dataset that brings no test split is cut into so many parts of whole groups,
    and part number `fold` is the test split; together they hold every sample once.

    Args:
        partition: the test split is the same in all partitions, what remains is cut into train
            and val anew in each. A dataset's own val split is part of what remains, unless
            `split.val` is ``own``: then it is the val split of every partition.
        left_out: mask of samples that no split may have, shape (N,).
        multilabel: samples have sets of labels, each of which is kept in proportion.

    Raises DataError if a class is too small to be in every split.
    """
    own_val = split.val == "own"
    given = ["train" if s.split is None or (s.split == "val" and not own_val) else s.split
             for s in samples]  # fmt: skip
    if left_out is not None:
        given = [UNUSED if out else part for part, out in zip(given, left_out, strict=True)]
    missing = [part for part in ("test", "val") if part not in given]
    each = [labels_of(sample, multilabel) for sample in samples]
    _refuse_small_classes(name, samples, each, given, _needed(split, missing))
    labels = _indicator(each) if multilabel else np.unique(each, return_inverse=True)[1].ravel()
    groups = np.unique([sample.group for sample in samples], return_inverse=True)[1]
    assigned = np.asarray(given, dtype="<U6")
    whole = int((assigned == "train").sum())
    rng = np.random.default_rng(split.seed)
    for part in missing:
        train = np.flatnonzero(assigned == "train")
        if not len(train):
            break  # the message below names the missing classes
        if part == "test" and split.folds:
            carved = folds(labels[train], groups[train], split.folds, rng) == fold
            rng = np.random.default_rng([split.seed, fold])
        else:
            if part == "val" and partition:
                rng = np.random.default_rng([split.seed, fold, partition])
            count = whole * (split.test if part == "test" else split.val_fraction)
            carved = carve(labels[train], groups[train], count / len(train), rng)
        assigned[train[carved]] = part
    used = [index for index, part in enumerate(given) if part != UNUSED]
    every = {label for own in each for label in own}
    seen = [(label, assigned[i]) for i in used for label in each[i]]
    try:
        require_every_class(
            name, [label for label, _ in seen], np.array([part for _, part in seen]), sorted(every)
        )
    except DataError as error:
        out = 0 if left_out is None else int(left_out.sum())
        why = f"\n({out:,} samples are left out: the same pictures have other labels, too.)"
        raise DataError(f"{error}{why if out else ''}") from None
    return assigned


def _indicator(each: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Return 1 for each label that a sample has (N, C), and for samples without any one column."""
    places = {name: i for i, name in enumerate(sorted({label for own in each for label in own}))}
    found = np.zeros((len(each), len(places) + 1), dtype=np.int64)
    for row, own in enumerate(each):
        found[row, [places[label] for label in own] or [len(places)]] = 1
    return found


def _needed(split: Split, missing: list[str]) -> int:
    """Return how many independent samples of a class it takes to put one into every split."""
    of_folds = split.folds if split.folds and "test" in missing else 0
    return max(1 + len(missing), of_folds)


def folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the fold of each sample, shape (N,): whole groups, about equal parts of each class."""
    fold_of = np.full(len(labels), count - 1)
    left = np.arange(len(labels))
    for fold in range(count - 1):
        taken = carve(labels[left], groups[left], 1 / (count - fold), rng)
        fold_of[left[taken]] = fold
        left = left[~taken]
    return fold_of


def nested(
    labels: NDArray[np.int64], groups: NDArray[np.int64], fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Choose whole groups that hold about a fraction of every class; a smaller is in a larger.

    Groups stand in one random order within the class that most of their samples have. One is
    chosen if those before it hold less than the fraction of their class: so at least one of
    each class always is.

    Returns:
        Mask of the chosen samples, shape (N,).
    """
    units, unit_of = np.unique(groups, return_inverse=True)
    counts_GC = _counts(labels, unit_of, len(units))
    class_G, size_G = counts_GC.argmax(axis=1), counts_GC.sum(axis=1)
    if labels.ndim == 2:  # a group stands within its rarest label
        rarity_C = np.argsort(np.argsort(-counts_GC.sum(axis=0), kind="stable"))
        class_G = np.where(counts_GC > 0, rarity_C, -1).argmax(axis=1)
    chosen = np.zeros(len(units), dtype=bool)
    order = np.random.default_rng([seed, len(units)]).permutation(len(units))
    for index in np.unique(class_G):
        mine = order[class_G[order] == index]
        before = np.cumsum(size_G[mine]) - size_G[mine]
        chosen[mine] = before < fraction * size_G[mine].sum() * (1 - 1e-9)
    return np.asarray(chosen[unit_of])


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
        labels: class indices, shape (N,); of several labels a sample 1 for those it has, (N, C).
        groups: group indices, shape (N,).
        fraction: share wanted, between 0 and 1.
        rng: decides among equals.

    Returns:
        Mask of the chosen samples, shape (N,).
    """
    units, unit_of = np.unique(groups, return_inverse=True)
    counts_GC = _counts(labels, unit_of, len(units))
    totals_C = np.maximum(counts_GC.sum(axis=0), 1)
    shuffled = rng.permutation(len(units))
    order = shuffled[np.argsort(-counts_GC[shuffled].sum(axis=1), kind="stable")]
    taken = np.zeros(len(units), dtype=bool)
    # Share of each class taken, less the share of all samples visited.
    surplus = [0.0] * len(totals_C)
    unit_at, class_at = np.nonzero(counts_GC)
    share_at = (counts_GC / totals_C)[unit_at, class_at].tolist()
    start_of = np.searchsorted(unit_at, np.arange(len(units) + 1)).tolist()
    classes = class_at.tolist()
    for unit in order.tolist():  # Python numbers are faster here; there may be 100,000 groups
        own = range(start_of[unit], start_of[unit + 1])
        left = [surplus[classes[i]] - fraction * share_at[i] for i in own]
        with_it = [value + share_at[i] for value, i in zip(left, own, strict=True)]
        taken[unit] = sum(v * v for v in with_it) < sum(v * v for v in left)
        for value, i in zip(with_it if taken[unit] else left, own, strict=True):
            surplus[classes[i]] = value
    _mend(taken, counts_GC)
    return np.asarray(taken[unit_of])


def _counts(labels: NDArray[np.int64], unit_of: NDArray[np.int64], units: int) -> NDArray[np.int64]:
    """Return how many samples of each class, or with each label, each group has (G, C)."""
    if labels.ndim == 2:
        counts_GC = np.zeros((units, labels.shape[1]), dtype=np.int64)
        np.add.at(counts_GC, unit_of, labels)
        return counts_GC
    counts_GC = np.zeros((units, int(labels.max()) + 1), dtype=np.int64)
    np.add.at(counts_GC, (unit_of, labels), 1)
    return counts_GC


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


def require_every_class(
    name: str, labels: Sequence[str], splits: NDArray[np.str_], classes: Sequence[str] = ()
) -> None:
    """Raise DataError if a class, of `labels` or `classes`, is absent from a split."""
    problems = []
    for part in SPLITS:
        present = {label for label, own in zip(labels, splits, strict=True) if own == part}
        absent = sorted({*labels, *classes} - present)
        problems += [f"class {label!r} has no sample in {part}" for label in absent]
    if problems:
        raise DataError(
            f"dataset {name}: every class must be in every split:\n{listing(problems)}\n"
            "Add samples of these classes, leave the classes out, or change the split."
        )


def _refuse_small_classes(
    name: str,
    samples: Sequence[Sample],
    each: Sequence[Sequence[str]],
    given: list[str],
    need: int,
) -> None:
    groups_of: dict[str, set[str]] = defaultdict(set)
    for sample, own, part in zip(samples, each, given, strict=True):
        for label in own if part == "train" else ():
            groups_of[label].add(sample.group)
    labels = {label for own in each for label in own}
    if len(labels) < 2:
        only = "".join(labels) or "none"
        raise DataError(f"dataset {name}: two classes at least are needed, found: {only}")
    small = [
        f"class {label!r} has {len(groups_of[label])} (samples, or groups of them)"
        for label in sorted(labels)
        if 0 < len(groups_of[label]) < need
    ]
    if small:
        raise DataError(
            f"dataset {name}: a class needs {need} independent samples at least, so that one is in "
            f"every split and fold:\n{listing(small)}\n"
            "Add samples of these classes, or leave the classes out."
        )
