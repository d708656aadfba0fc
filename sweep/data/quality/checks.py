"""The data check: what would make a comparison on a dataset wrong, found before any training."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sweep.data.dataset import (
    classes_of,
    open_near_duplicates,
    samples_of,
    samples_of_one_group,
    store_plan,
)
from sweep.data.manifest import SPLITS, Manifest, Sample
from sweep.data.multilabel import labels_of
from sweep.data.quality.near_duplicates import THUMBNAIL, NearDuplicates
from sweep.data.quality.remarks import gaps_between_slices, remarks
from sweep.data.quality.shortcuts import find_border_shortcut, find_size_shortcut
from sweep.data.splits import assign_splits
from sweep.data.store.building import Progress
from sweep.data.store.image_store import Store, open_store
from sweep.errors import DataError
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec

FEW = 10  # with fewer test groups of a class its scores are too uncertain


@dataclass(frozen=True)
class Finding:
    """One thing that the check found.

    Attributes:
        kind: a short name, such as ``copies_across_splits``.
        severity: bias if it makes a comparison wrong, note if one should know it.
        text: what it is and what follows, in a sentence.
        items: the files, groups or classes concerned.
    """

    kind: str
    severity: Literal["bias", "note"]
    text: str
    items: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class DataCheck:
    """What a dataset holds, and what is wrong with it.

    Attributes:
        images: split -> class -> number of images.
        groups: split -> number of groups.
        manifest: the samples, in the splits that the dataset brings, else in those drawn.
        near_duplicates: which of them show the same picture.
        samples: split -> number of images, of whatever labels.
    """

    name: str
    images: dict[str, dict[str, int]]
    groups: dict[str, int]
    findings: list[Finding]
    manifest: Manifest
    near_duplicates: NearDuplicates
    samples: dict[str, int]

    @property
    def biased(self) -> bool:
        """Whether something would make a comparison wrong."""
        return any(finding.severity == "bias" for finding in self.findings)


def check(
    spec: DatasetSpec,
    split: Split,
    data_root: Path,
    cache: Path,
    progress: Progress | None = None,
) -> DataCheck:
    """Check a dataset in the splits that it brings, else in those that are drawn for it.

    Raises DataError if it is not there or not in its layout.
    """
    samples = samples_of(spec, data_root)
    findings: list[Finding] = []
    several = bool(spec.multilabel)
    brings = any(sample.split for sample in samples)
    try:
        drawn = assign_splits(spec.name, samples, split, multilabel=several)
    except DataError as error:
        findings.append(Finding("cannot_be_split", "bias", str(error)))
        drawn = np.asarray([sample.split or "train" for sample in samples])
    seen = np.asarray([sample.split or "train" for sample in samples]) if brings else drawn
    manifest = Manifest.of(samples, seen.tolist(), classes_of(spec, samples), several)
    plan = store_plan(spec, manifest, THUMBNAIL, "bilinear", data_root)
    store = open_store(cache / "stores", plan, progress)
    near_duplicates = open_near_duplicates(spec, manifest, data_root, cache)
    if not brings and not findings and spec.leaks != "allow":
        try:
            drawn = samples_of_one_group(spec, manifest, near_duplicates, split, data_root).splits
            manifest = manifest.resplit(drawn)
        except DataError as error:
            findings.append(Finding("cannot_be_split", "bias", str(error)))
    read = [*remarks(spec, samples, data_root), *gaps_between_slices(spec, data_root)]
    alike = _without(near_duplicates.alike, near_duplicates.copies)
    findings += [
        *(Finding(item.kind, "note", item.text, item.items) for item in read),
        *_unreadable(manifest, store),
        *_few(samples, drawn, several),
        *_groups(manifest),
        *_pictures_alike(manifest, near_duplicates.copies, "identical", "copies"),
        *_pictures_alike(manifest, alike, "near-identical", "alike"),
        *_shortcuts(manifest, store),
    ]
    findings.sort(key=lambda finding: finding.severity)
    return DataCheck(
        spec.name,
        manifest.resplit(drawn).counts(),
        _groups_of(samples, drawn),
        findings,
        manifest,
        near_duplicates,
        {part: int((drawn == part).sum()) for part in SPLITS},
    )


def _groups_of(samples: Sequence[Sample], splits: NDArray[np.str_]) -> dict[str, int]:
    found: dict[str, set[str]] = defaultdict(set)
    for sample, part in zip(samples, splits, strict=True):
        found[str(part)].add(sample.group)
    return {part: len(found[part]) for part in SPLITS}


def _unreadable(manifest: Manifest, store: Store) -> Iterator[Finding]:
    if store.unreadable:
        items = [f"{manifest.ids[row]}: {why}" for row, why in store.unreadable.items()]
        text = f"{len(items):,} of {len(manifest):,} images cannot be read"
        yield Finding("unreadable", "bias", text, items)


def _few(
    samples: Sequence[Sample], splits: NDArray[np.str_], multilabel: bool
) -> Iterator[Finding]:
    groups: dict[str, set[str]] = defaultdict(set)
    for sample, part in zip(samples, splits, strict=True):
        for label in labels_of(sample, multilabel) if part == "test" else ():
            groups[label].add(sample.group)
    few = {label: len(found) for label, found in groups.items() if len(found) < FEW}
    if few:
        items = [f"{label}: {count}" for label, count in sorted(few.items())]
        text = (
            f"{_many(len(few), 'class')} with fewer than {FEW} independent test samples: their "
            "scores say little; 'split: {folds: 5}' tests on all"
        )
        yield Finding("few_test_samples", "note", text, items)


def _groups(manifest: Manifest) -> Iterator[Finding]:
    splits: dict[str, set[str]] = defaultdict(set)
    labels: dict[str, set[str]] = defaultdict(set)
    columns = (manifest.groups, manifest.splits.tolist(), manifest.label_texts)
    for group, part, label in zip(*columns, strict=True):
        splits[group].add(part)
        labels[group].add(label)
    across = [f"{g}: {_list_values(parts)}" for g, parts in splits.items() if len(parts) > 1]
    if across:
        text = (
            f"{_many(len(across), 'group')} in several splits: what is learnt of one picture helps "
            "with the others of its group"
        )
        yield Finding("groups_across_splits", "bias", text, across)
    mixed = [f"{group}: {_list_values(found)}" for group, found in labels.items() if len(found) > 1]
    if mixed and not manifest.multilabel:
        text = f"{_many(len(mixed), 'group')} with pictures of several classes"
        yield Finding("groups_with_several_labels", "note", text, mixed)


def _many(count: int, what: str) -> str:
    """Return `count` with the noun: 1 group, 2 groups, 3 classes."""
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{count:,} {what if count == 1 else plural}"


def _list_values(values: set[str]) -> str:
    return ", ".join(sorted(values))


def _without(alike: NDArray[np.int64], copies: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sets of alike pictures that are not all copies of each other; others alone."""
    different = np.zeros(int(alike.max()) + 1, dtype=np.int64)
    pairs = np.unique(np.stack([alike, copies], axis=1), axis=0)
    np.add.at(different, pairs[:, 0], 1)
    alone = int(alike.max()) + 1 + np.arange(len(alike))
    return np.where(different[alike] > 1, alike, alone)


def _pictures_alike(
    manifest: Manifest, set_of: NDArray[np.int64], what: str, kind: str
) -> Iterator[Finding]:
    """Tell the sets of the same picture apart: across splits, within one, with two labels."""
    order = np.argsort(set_of, kind="stable")
    sets = np.split(order, np.flatnonzero(np.diff(set_of[order])) + 1)
    several = [rows for rows in sets if len(rows) > 1 and not _is_one_group(manifest, rows)]
    across = [rows for rows in several if len(set(manifest.splits[rows])) > 1]
    if across:
        rows = np.concatenate(across)
        parts = " and ".join(
            f"{int((manifest.splits[rows] == part).sum()):,} of "
            f"{int((manifest.splits == part).sum()):,} pictures of {part}"
            for part in SPLITS
            if (manifest.splits[rows] == part).any()
        )
        text = (
            f"{_many(len(across), 'group')} of {what} pictures in several splits ({parts}): "
            "scores on the later one are too good"
        )
        yield Finding(f"{kind}_across_splits", "bias", text, _as_lines(manifest, across))
    within = [rows for rows in several if len(set(manifest.splits[rows])) == 1]
    if within:
        extra = sum(len(rows) - 1 for rows in within)
        text = (
            f"{_many(len(within), 'group')} of {what} pictures within a split ({extra:,} to spare)"
        )
        yield Finding(f"{kind}_within_splits", "note", text, _as_lines(manifest, within))
    odd = [rows for rows in several if len(set(manifest.label_sets[rows].tolist())) > 1]
    if odd:
        text = f"{_many(len(odd), 'group')} of {what} pictures with different labels: one is wrong"
        severity: Literal["bias", "note"] = "bias" if kind == "copies" else "note"
        yield Finding(f"{kind}_with_other_labels", severity, text, _as_lines(manifest, odd))


def _is_one_group(manifest: Manifest, rows: NDArray[np.int64]) -> bool:
    """Tell whether all are of one patient, and its label and split one: no harm in that."""
    groups = {manifest.groups[row] for row in rows}
    labels = set(manifest.label_sets[rows].tolist())
    return len(groups) == 1 and len(labels) == 1 and len(set(manifest.splits[rows])) == 1


def _as_lines(manifest: Manifest, sets: list[NDArray[np.int64]]) -> list[str]:
    labels = [label or "no label" for label in manifest.label_texts]
    return [
        " = ".join(f"{manifest.ids[row]} ({manifest.splits[row]}, {labels[row]})" for row in rows)
        for rows in sets
    ]


def _shortcuts(manifest: Manifest, store: Store) -> Iterator[Finding]:
    readable = np.setdiff1d(np.arange(len(manifest)), list(store.unreadable))
    if not len(readable):
        return
    if manifest.multilabel:
        for place, label in enumerate(manifest.classes):
            of_label = manifest.labels[readable, place]
            yield from _shortcuts_of(manifest, store, readable, of_label, ["not " + label, label])
        return
    yield from _shortcuts_of(manifest, store, readable, manifest.labels[readable], manifest.classes)


def _shortcuts_of(
    manifest: Manifest,
    store: Store,
    readable: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
) -> Iterator[Finding]:
    of_label = f" {classes[1]}" if manifest.multilabel else ""
    suffixes = [Path(manifest.paths[row]).suffix.lower() for row in readable]
    size = find_size_shortcut(store.originals[readable], suffixes, labels)
    if size is not None:
        text = (
            f"the size and format of a file alone tell the class{of_label} with balanced accuracy "
            f"{size.score:.2f}: pictures of the classes come from different sources"
        )
        yield Finding("size_tells_class", "bias" if size.certain else "note", text)
    border = find_border_shortcut(store, readable, labels)
    if border is not None:
        text = (
            f"near the border, at {border.place}, pictures of class "
            f"{classes[border.label]} nearly all look the same and others do not (AUROC "
            f"{border.score:.3f} of that place alone): a text or mark that gives the class away?"
        )
        yield Finding("border_tells_class", "bias" if border.certain else "note", text)
