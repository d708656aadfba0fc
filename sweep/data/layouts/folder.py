"""A folder for each class, below folders for the splits where there are any."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from sweep.data.layouts.base import Layout, require_extras
from sweep.data.layouts.tree import images_below, is_image, is_of_a_system, subfolders
from sweep.data.manifest import Sample
from sweep.data.values import clean
from sweep.errors import DataError, listing, nearest
from sweep.space.datasets import KnownDataset
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


# Patient ids in Kermany's chest X-rays: person1_bacteria_1.jpeg, IM-0115-0001.jpeg,
# NORMAL2-IM-0927-0001.jpeg. The two series of normal images number patients separately.
KERMANY_PATIENT = r"^(person\d+|(?:NORMAL2-)?IM-\d+)"


class Folder(Layout):
    """The images of each class below a folder of its name."""

    keys = frozenset({"train", "val", "test", "group", "group_scope"})
    names_unused_files = True
    known: ClassVar = {
        "brain_mri": KnownDataset(
            {
                "path": ["brain_mri", "Brain-Tumor-Classification-DataSet*", "brain_mri"],
                "train": "Training",
                "test": "Testing",
                "augment": "mri",
            },
            "Kaggle, 'Brain Tumor Classification (MRI)': unpack Training/ and Testing/ there",
            (3264, 4),
        ),
        "chest_xray": KnownDataset(
            {
                "path": "chest_xray",
                # The official validation folder holds 16 images, too few for model selection.
                "train": ["train", "val"],
                "test": "test",
                "group": KERMANY_PATIENT,
                "group_scope": "split",
                "augment": "xray",
            },
            "Kaggle, 'Chest X-Ray Images (Pneumonia)': unpack train/, val/ and test/ there",
            (5856, 2),
        ),
    }

    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name the images below each class's folder."""
        root, parts = path, list(_split_folders(spec, unwrap(spec, path)))
        if not any(subfolders(part) for _, part in parts):
            raise DataError(f"dataset {spec.name}: {root} has no folder for each class")
        samples, empty = [], []
        for split, part in parts:
            for folder in subfolders(part):
                files = list(images_below(folder))
                if not files:
                    empty.append(f"{folder} (class {folder.name!r})")
                label, start = clean(folder.name), len(f"{root}{os.sep}")
                samples += [Sample(path[start:], label, path[start:], split) for path in files]
        if empty:
            raise DataError(
                f"dataset {spec.name}: no images for a class in:\n{listing(empty)}\n"
                "Put images there, or remove the folders."
            )
        require_extras(root / sample.path for sample in samples)
        return assign_groups(spec, samples)


def unwrap(spec: DatasetSpec, root: Path) -> Path:
    """Return the folder of classes or splits: below folders that hold one folder and no image.

    Archives are often unpacked into a folder of their own name.
    """
    place: Path | None = root
    while place is not None and not (spec.train or spec.val or spec.test):
        if len(subfolders(place)) > 1:
            return place
        place = _only_folder(place)
    return root


def _only_folder(folder: Path) -> Path | None:
    """Return the folder that is alone in a folder, without images beside it; else None."""
    with os.scandir(folder) as found:
        entries = [entry for entry in found if not is_of_a_system(entry.name)]
    folders = [entry.path for entry in entries if entry.is_dir()]
    images = any(is_image(entry.path) for entry in entries if not entry.is_dir())
    return Path(folders[0]) if len(folders) == 1 and not images else None


def _split_folders(spec: DatasetSpec, root: Path) -> Iterator[tuple[str | None, Path]]:
    chosen = {"train": spec.train, "val": spec.val, "test": spec.test}
    if not spec.train:
        # Folders named Training/ and Testing/ are splits, not classes.
        by_split = {SPLIT_NAMES.get(path.name.lower()): path.name for path in subfolders(root)}
        if not {"train", "test"} <= set(by_split) and not {"train", "val"} <= set(by_split):
            yield None, root
            return
        chosen = {split: by_split.get(split) for split in chosen}
    for split, names in chosen.items():
        for name in (names,) if isinstance(names, str) else names or ():
            part = root / name
            if not part.is_dir():
                have = [path.name for path in subfolders(root)]
                raise DataError(
                    f"dataset {spec.name}: its {split} folder {part} is not there"
                    f"{nearest(name, have)}"
                )
            yield split, part


def assign_groups(
    spec: DatasetSpec, samples: list[Sample], columns: Iterable[str] = ()
) -> list[Sample]:
    """Set the group of every sample by the pattern of the entry; without one each stands alone.

    The pattern is looked for in the names of the files; where it is not in all of them, in their
    paths below the dataset.

    Args:
        columns: of a table, of which the entry's `group` may have meant one.

    Raises DataError, naming the files, if the pattern does not match all of them.
    """
    if spec.group is None:
        return samples
    pattern = re.compile(spec.group)
    names = [unicodedata.normalize("NFC", os.path.basename(s.path)) for s in samples]  # noqa: PTH119 - for each of many
    found = [pattern.search(name) for name in names]
    if not all(found):
        found = [pattern.search(unicodedata.normalize("NFC", s.path)) for s in samples]
    unmatched = [s.path for s, match in zip(samples, found, strict=True) if match is None]
    if unmatched:
        raise DataError(
            f"dataset {spec.name}: {len(unmatched)} file names do not match the group pattern "
            f"{spec.group!r}, nor do their paths{nearest(spec.group, columns)}:\n"
            f"{listing(unmatched)}"
        )
    result, nameless = [], []
    for sample, match in zip(samples, found, strict=True):
        assert match is not None
        group = clean(match.group(1 if pattern.groups else 0) or "")
        if not group:
            nameless.append(sample.path)
        own = scoped(spec, group, sample.split)
        result.append(Sample(sample.path, sample.label, own, sample.split))
    if nameless:
        raise DataError(
            f"dataset {spec.name}: the group pattern {spec.group!r} finds an empty id in "
            f"{len(nameless)} files:\n{listing(nameless)}"
        )
    return result


def scoped(spec: DatasetSpec, group: str, split: str | None) -> str:
    """Return the id of a group, which with ``group_scope: split`` holds in its own split alone."""
    return f"{split}/{group}" if spec.group_scope == "split" and split else group


LAYOUTS.register("folder", Folder())
