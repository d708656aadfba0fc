"""How each layout names its samples and opens its images."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from sweep.data.layouts.base import Source, layout_of
from sweep.data.manifest import Sample
from sweep.data.multilabel import labels_of, with_label_sets
from sweep.data.values import differ_in_spelling
from sweep.errors import DataError, listing, shorten
from sweep.space.datasets import known_dataset
from sweep.space.specs import DatasetSpec


def read_samples(spec: DatasetSpec, data_root: Path) -> list[Sample]:
    """Return every sample of a dataset, in sorted order.

    Raises DataError if the dataset is not there, its layout is not as `spec` says, or its
    labels are doubtful.
    """
    if problem := missing(spec, data_root):
        raise DataError(problem)
    place = location(spec, data_root)
    try:
        samples = layout_of(spec).read(spec, place)
    except OSError as error:
        raise DataError(
            f"dataset {spec.name}: {error.filename or place}: {error.strerror}"
        ) from None
    if not samples:
        raise DataError(f"dataset {spec.name}: {place} holds no images")
    _refuse_undecodable(spec, samples)
    if spec.multilabel:
        samples = with_label_sets(spec.name, samples, spec.multilabel)
        _refuse_near_labels(spec, _one_label_each(samples))
    else:
        samples = _with_whole_labels(samples)
        _refuse_near_labels(spec, samples)
        _refuse_unknown_labels(spec, samples)
    _refuse_near_groups(spec, samples)
    if spec.pooled:
        _refuse_contradictions(spec, samples)
    return samples


def source(spec: DatasetSpec, data_root: Path) -> Callable[[], Source]:
    """Return what makes, in any process, what opens the images of a dataset that is there.

    The layout goes along: where it is of a file that a space imports, no other process knows it.
    """
    return partial(layout_of(spec).source, spec, location(spec, data_root))


def location(spec: DatasetSpec, data_root: Path) -> Path:
    """Return where the dataset is: relative paths are under the data root.

    Of several places, which may be patterns, it is the first folder that is there.
    """
    places = (spec.path,) if isinstance(spec.path, str) else spec.path or ("",)
    for place in map(Path, places[:-1]):
        for found in [place] if place.is_absolute() else sorted(data_root.glob(str(place))):
            if found.is_dir():
                return found
    return data_root / Path(places[-1]).expanduser()


def missing(spec: DatasetSpec, data_root: Path) -> str | None:
    """Say what is missing and how to get it, or return None if the dataset is there."""
    layout = layout_of(spec)
    if not layout.needs_path:
        return None
    path = location(spec, data_root)
    there = {None: path.exists, True: path.is_file, False: path.is_dir}[layout.is_file]()
    if there:
        return None
    found = "is not there" if not path.exists() else "is a folder" if path.is_dir() else "is a file"
    known = known_dataset(spec.name)
    how = known.how_to_get if known else "check the path in the space file, or --data-root"
    return f"dataset {spec.name}: {path} {found}. {how}."


def _refuse_undecodable(spec: DatasetSpec, samples: list[Sample]) -> None:
    """File names that are not UTF-8 cannot be written into a table, or shown."""
    odd = [
        item.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        for item in samples
        if not item.path.isascii() and _is_undecodable(item.path)
    ]
    if odd:
        raise DataError(
            f"dataset {spec.name}: {len(odd)} file names are not UTF-8:\n{listing(odd)}\n"
            "Rename them: convmv -r -f latin1 -t utf8 --notest FOLDER, if they are Latin-1."
        )


def _is_undecodable(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _with_whole_labels(samples: list[Sample]) -> list[Sample]:
    """Write labels that a program has made fractions, 0.0 and 1.0, as whole numbers."""
    labels = {sample.label for sample in samples}
    if not all(re.fullmatch(r"-?\d+\.0+", label) for label in labels):
        return samples
    return [replace(sample, label=sample.label.partition(".")[0]) for sample in samples]


def _one_label_each(samples: list[Sample]) -> list[Sample]:
    """Return each sample once for each of its labels."""
    return [replace(s, label=label) for s in samples for label in labels_of(s, multilabel=True)]


def _refuse_near_labels(spec: DatasetSpec, samples: list[Sample]) -> None:
    """Labels that differ in case alone, or are one number, are one class, misspelt."""
    first: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample.label, sample)
    odd = [
        " and ".join(f"{label!r} (first: {first[label].path})" for label in words)
        for words in differ_in_spelling(first)
    ]
    if odd:
        raise DataError(
            f"dataset {spec.name}: labels that are one word or number, written in several ways:\n"
            f"{listing(odd)}\nWrite each class in one way."
        )


def _refuse_unknown_labels(spec: DatasetSpec, samples: list[Sample]) -> None:
    """A class -1 beside other numbers is what many tables write for 'not known'."""
    labels = {sample.label for sample in samples}
    others = labels - {"-1"}
    if "-1" in labels and len(others) > 1 and all(label.isdecimal() for label in others):
        count = sum(sample.label == "-1" for sample in samples)
        raise DataError(
            f"dataset {spec.name}: {count} samples have the label -1, beside "
            f"{shorten(sorted(others))}: where it means 'not known', leave them out; where it is "
            "a class, give it a name"
        )


def _refuse_near_groups(spec: DatasetSpec, samples: list[Sample]) -> None:
    """Ids that are one number, 7 and 007, or one word are one patient, who would be split."""
    of_group = {sample.group: sample.path for sample in samples if sample.group != sample.path}
    odd = [
        " and ".join(f"{group!r} ({of_group[group]})" for group in words)
        for words in differ_in_spelling(of_group)
    ]
    if odd:
        raise DataError(
            f"dataset {spec.name}: {len(odd)} groups whose ids are one number or word, written "
            f"in several ways:\n{listing(odd)}\nWrite each id in one way; of different patients, "
            "write something before the ids of some."
        )


def _refuse_contradictions(spec: DatasetSpec, samples: list[Sample]) -> None:
    """Where predictions are pooled by group, a group has one label."""
    labels: dict[str, dict[str, str]] = {}
    for sample in samples:
        labels.setdefault(sample.group, {}).setdefault(sample.label, sample.path)
    odd = [
        f"group {group!r}: " + ", ".join(f"{label} ({path})" for label, path in found.items())
        for group, found in labels.items()
        if len(found) > 1
    ]
    if odd:
        raise DataError(
            f"dataset {spec.name}: {len(odd)} groups have several labels, but are scored as one:\n"
            f"{listing(odd)}\nGive each group one label, or write 'pool: none'."
        )
