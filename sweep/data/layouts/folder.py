"""A folder for each class, below folders for the splits where there are any."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from sweep.data.layouts.base import Files, Layout, require_extras
from sweep.data.layouts.tree import images_below, subfolders
from sweep.data.manifest import Sample
from sweep.errors import DataError, listing, nearest
from sweep.space import DatasetSpec

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def _read(spec: DatasetSpec, root: Path) -> list[Sample]:
    parts = list(_split_folders(spec, root))
    if not any(subfolders(part) for _, part in parts):
        raise DataError(f"dataset {spec.name}: {root} has no folder for each class")
    samples, empty = [], []
    for split, part in parts:
        for folder in subfolders(part):
            files = list(images_below(folder))
            if not files:
                empty.append(f"{folder} (class {folder.name!r})")
            label, start = folder.name, len(f"{root}{os.sep}")
            samples += [Sample(path[start:], label, path[start:], split) for path in files]
    if empty:
        raise DataError(
            f"dataset {spec.name}: no images for a class in:\n{listing(empty)}\n"
            "Put images there, or remove the folders."
        )
    require_extras(root / sample.path for sample in samples)
    return grouped(spec, samples)


def _split_folders(spec: DatasetSpec, root: Path) -> Iterator[tuple[str | None, Path]]:
    chosen = {"train": spec.train, "val": spec.val, "test": spec.test}
    if not spec.train:
        # A tree of Training/ and Testing/ is a split, not two classes.
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


def grouped(spec: DatasetSpec, samples: list[Sample]) -> list[Sample]:
    """Set the group of every sample from its file name; without a pattern each stands alone.

    Raises DataError, naming the files, if the pattern does not match all of them.
    """
    if spec.group is None:
        return samples
    pattern = re.compile(spec.group)
    result, unmatched = [], []
    for s in samples:
        match = pattern.search(os.path.basename(s.path))  # noqa: PTH119 - for each of many
        if match is None:
            unmatched.append(s.path)
            continue
        group = match.group(1) if pattern.groups else match.group(0)
        scope = f"{s.split}/" if spec.group_scope == "split" and s.split else ""
        result.append(Sample(s.path, s.label, scope + group, s.split))
    if unmatched:
        raise DataError(
            f"dataset {spec.name}: {len(unmatched)} file names do not match the group pattern "
            f"{spec.group!r}:\n{listing(unmatched)}"
        )
    return result


FOLDER = Layout(_read, lambda _spec, root: Files(root))
