"""What one should know of how a dataset was read: what was left out, what was taken for what."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from sweep.data.io.dicom import uneven_gaps
from sweep.data.layouts import location
from sweep.data.layouts.base import layout_of
from sweep.data.layouts.tree import files_below, is_image, is_of_a_system
from sweep.data.manifest import Sample
from sweep.data.multilabel import labels_of
from sweep.data.values import clean, is_missing_id
from sweep.errors import shorten
from sweep.space.specs import DatasetSpec

_OF_SEVERAL_PAGES = {".tif", ".tiff", ".gif", ".webp", ".apng", ".mpo"}
_NO_LABEL = {"missing", "undefined", "unlabeled", "unlabelled", "uncertain", "not known"}
_NAMES_PATIENTS = re.compile(
    r"(patient|subject|participant|person|case|mrn|pid)s?([ _.-]?(id|identifier|number|no|name))?",
    re.IGNORECASE,
)
_LOOKED_INTO = 200  # files inspected for several pages, evenly spaced over the dataset


@dataclass(frozen=True)
class Remark:
    """Something to know.

    Attributes:
        kind: a short name.
        text: a sentence that names no file.
        items: files or folders concerned.
    """

    kind: str
    text: str
    items: list[str] = field(default_factory=list)


def remarks(spec: DatasetSpec, samples: Sequence[Sample], data_root: Path) -> list[Remark]:
    """Return what is to be said of how the files of a dataset were read."""
    root = location(spec, data_root)
    if root.is_file():
        root = root.parent
    found: list[Remark] = []
    if layout_of(spec).names_unused_files:
        found += _excluded_files(root, {sample.path for sample in samples})
        if spec.group is None:
            found += _folders_below_classes(samples)
    found += _columns_of_patients(spec, samples, data_root)
    found += _several_pages(root, samples)
    found += _doubtful_labels(samples, bool(spec.multilabel))
    return found


def gaps_between_slices(spec: DatasetSpec, data_root: Path) -> Iterator[Remark]:
    """Yield the DICOM series of a dataset in which slices seem to be missing; reads all headers."""
    if not layout_of(spec).has_series:
        return
    root = location(spec, data_root)
    folders = {Path(file).parent for file in files_below(root if root.is_dir() else root.parent)}
    odd = []
    for folder in sorted(folders):
        try:
            text = uneven_gaps(folder)
        except Exception:  # unreadable files are reported elsewhere
            continue
        if text:
            odd.append(f"{folder.relative_to(root if root.is_dir() else root.parent)}: {text}")
    if odd:
        yield Remark("uneven_slices", f"{len(odd)} series of which slices seem to be missing", odd)


def _excluded_files(root: Path, used: set[str]) -> Iterator[Remark]:
    rest = [path[len(str(root)) + 1 :] for path in files_below(root)]
    rest = [path for path in rest if path not in used]
    pictures = [path for path in rest if is_image(f"{root}/{path}")]
    others = sorted(set(rest) - set(pictures))
    if pictures:
        text = f"{_files(pictures)} outside of the folders of classes: not used"
        yield Remark("pictures_left_out", text, pictures)
    below = [path for path in others if "/" in path]
    if below:
        text = f"{_files(below)} that are no pictures ({_by_suffix(below)}): left out"
        yield Remark("files_left_out", text, below)
    hidden = _of_systems(root)
    if hidden:
        text = f"{len(hidden):,} files or folders of systems, or hidden: passed over"
        yield Remark("system_files", text, hidden)


def _of_systems(root: Path) -> list[str]:
    found = []
    for folder, folders, files in os.walk(root, followlinks=False):
        names = [name for name in (*folders, *files) if is_of_a_system(name)]
        found += [os.path.join(folder, name)[len(str(root)) + 1 :] for name in names]  # noqa: PTH118
        folders[:] = [name for name in folders if not is_of_a_system(name)]
    return sorted(found)


def _folders_below_classes(samples: Sequence[Sample]) -> Iterator[Remark]:
    folders: Counter[str] = Counter()
    for sample in samples:
        parts = sample.path.split("/")
        place = next((i for i, part in enumerate(parts) if clean(part) == sample.label), None)
        if place is not None and parts[place + 1 : -1]:
            folders["/".join(parts[:-1])] += 1
    files = folders.total()
    # Maps a folder's name to the names of its parents.
    above: dict[str, set[str]] = defaultdict(set)
    for folder in folders:
        label, _, name = folder.rpartition("/")
        above[name].add(label)
    classes = set().union(*above.values())
    if 1 < len(above) <= len(classes) and min(map(len, above.values())) > 1:
        text = (
            f"the {len(classes)} folders that are taken as classes hold folders of the same "
            f"names ({shorten(sorted(above), 5)}): if these are the classes, move them above "
            "the others, or list the files in a csv"
        )
        yield Remark("same_folders_below_classes", text, sorted(folders))
    elif len(folders) > 1 and files > len(folders):
        text = (
            f"{files:,} files lie in {len(folders):,} folders below those of the classes, and each "
            "is taken as a sample of its own: if such a folder is a patient, its pictures come "
            "into different splits; write group: '([^/]+)/[^/]+$' into the entry"
        )
        yield Remark("folders_below_classes", text, sorted(folders))


def _columns_of_patients(
    spec: DatasetSpec, samples: Sequence[Sample], data_root: Path
) -> Iterator[Remark]:
    """Yield the columns of a table that seem to name patients whose samples are no group."""
    columns = layout_of(spec).attributes(spec, location(spec, data_root))
    for name, values in columns.items():
        if not _NAMES_PATIENTS.fullmatch(name):
            continue
        groups: dict[str, set[str]] = defaultdict(set)
        for sample in samples:
            if not is_missing_id(value := clean(values.get(sample.path, ""))):
                groups[value].add(sample.group)
        torn = sum(len(of_value) > 1 for of_value in groups.values())
        if torn:
            text = (
                f"the samples of {torn:,} of {len(groups):,} values of the table's column {name!r} "
                "are in several groups: if it names patients, their pictures come into different "
                f"splits; write group: {name!r} into the entry"
            )
            yield Remark("column_of_patients", text)


def _doubtful_labels(samples: Sequence[Sample], multilabel: bool) -> Iterator[Remark]:
    counts = Counter(label for sample in samples for label in labels_of(sample, multilabel))
    odd = [label for label in counts if is_missing_id(label) or label.casefold() in _NO_LABEL]
    for label in odd if len(counts) > 2 else ():
        text = (
            f"{counts[label]:,} samples have the label {label!r}, which is taken as a class: where "
            "it means 'not known', leave them out"
        )
        yield Remark("doubtful_label", text)


def _several_pages(root: Path, samples: Sequence[Sample]) -> Iterator[Remark]:
    paths = [s.path for s in samples if Path(s.path).suffix.lower() in _OF_SEVERAL_PAGES]
    step = max(1, len(paths) // _LOOKED_INTO)
    several = [path for path in paths[::step] if _pages(root / path) > 1]
    if several:
        some = f"{len(several):,} of {len(paths[::step]):,} that were looked into"
        text = f"files with several pages or frames ({some}): the first of each is read"
        yield Remark("several_pages", text, several)


def _pages(path: Path) -> int:
    try:
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # unreadable files are reported elsewhere
        return 1


def _files(paths: Sequence[str]) -> str:
    return f"{len(paths):,} file{'s' if len(paths) > 1 else ''}"


def _by_suffix(paths: Sequence[str]) -> str:
    counts = Counter(Path(path).suffix.lower() or "no suffix" for path in paths)
    return ", ".join(f"{suffix} {count:,}" for suffix, count in counts.most_common(5))
