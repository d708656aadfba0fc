"""How each layout names its samples: folder, csv, medmnist, digits, ham10000."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from sweep.catalog import HOW_TO_GET
from sweep.data.manifest import Sample
from sweep.errors import DataError, listing, nearest
from sweep.space import DatasetSpec

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"}

_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def read_samples(spec: DatasetSpec, data_root: Path) -> list[Sample]:
    """Return every sample of a dataset, in sorted order.

    Raises DataError if the dataset is not there or its layout is not as `spec` says.
    """
    if problem := missing(spec, data_root):
        raise DataError(problem)
    if spec.layout not in _READERS:
        raise DataError(
            f"dataset {spec.name}: image volumes cannot be read by this version; "
            "export slices and use layout folder or csv"
        )
    samples = _READERS[spec.layout](spec, location(spec, data_root))
    if not samples:
        raise DataError(f"dataset {spec.name}: {location(spec, data_root)} holds no images")
    return samples


def location(spec: DatasetSpec, data_root: Path) -> Path:
    """Return where the dataset is: relative paths are under the data root."""
    return data_root / Path(spec.path or "").expanduser()


def missing(spec: DatasetSpec, data_root: Path) -> str | None:
    """Say what is missing and how to get it, or return None if the dataset is there."""
    if spec.layout == "digits":
        return None
    path = location(spec, data_root)
    wants_file = spec.layout in {"csv", "medmnist", "volumes"}
    if path.is_file() if wants_file else path.is_dir():
        return None
    found = "is not there" if not path.exists() else "is a folder" if path.is_dir() else "is a file"
    how = HOW_TO_GET.get(spec.name, "check the path in the space file, or --data-root")
    return f"dataset {spec.name}: {path} {found}. {how}."


def is_image(path: Path) -> bool:
    """Tell an image file from thumbnails' databases, notes and hidden files."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _folder(spec: DatasetSpec, root: Path) -> list[Sample]:
    named: list[tuple[str | None, Path]] = list(_split_folders(spec, root))
    classes = {folder.name for _, part in named for folder in _subfolders(part)}
    if not classes:
        raise DataError(f"dataset {spec.name}: {root} has no folder for each class")
    samples, empty = [], []
    for split, part in named:
        for folder in _subfolders(part):
            files = sorted(path for path in folder.rglob("*") if is_image(path) and path.is_file())
            if not files:
                empty.append(f"{folder} (class {folder.name!r})")
            samples += [
                Sample(str(path.relative_to(root)), folder.name, path.name, split) for path in files
            ]
    if empty:
        raise DataError(
            f"dataset {spec.name}: no images for a class in:\n{listing(empty)}\n"
            "Put images there, or remove the folders."
        )
    return _grouped(spec, samples)


def _split_folders(spec: DatasetSpec, root: Path) -> Iterator[tuple[str | None, Path]]:
    chosen = {"train": spec.train, "val": spec.val, "test": spec.test}
    if not spec.train:
        # A tree of Training/ and Testing/ is a split, not two classes.
        by_split = {_SPLIT_NAMES.get(path.name.lower()): path.name for path in _subfolders(root)}
        if not {"train", "test"} <= set(by_split) and not {"train", "val"} <= set(by_split):
            yield None, root
            return
        chosen = {split: by_split.get(split) for split in chosen}
    for split, names in chosen.items():
        for name in (names,) if isinstance(names, str) else names or ():
            part = root / name
            if not part.is_dir():
                have = [path.name for path in _subfolders(root)]
                raise DataError(
                    f"dataset {spec.name}: its {split} folder {part} is not there"
                    f"{nearest(name, have)}"
                )
            yield split, part


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] not in "._")


def _grouped(spec: DatasetSpec, samples: list[Sample]) -> list[Sample]:
    """Set the group of every sample from its file name; without a pattern each stands alone."""
    if spec.group is None:
        return [Sample(s.path, s.label, s.path, s.split) for s in samples]
    pattern = re.compile(spec.group)
    grouped, unmatched = [], []
    for s in samples:
        match = pattern.search(Path(s.path).name)
        if match is None:
            unmatched.append(s.path)
            continue
        group = match.group(1) if pattern.groups else match.group(0)
        scope = f"{s.split}/" if spec.group_scope == "split" and s.split else ""
        grouped.append(Sample(s.path, s.label, scope + group, s.split))
    if unmatched:
        raise DataError(
            f"dataset {spec.name}: {len(unmatched)} file names do not match the group pattern "
            f"{spec.group!r}:\n{listing(unmatched)}"
        )
    return grouped


def _csv(spec: DatasetSpec, path: Path) -> list[Sample]:
    table = _read_table(spec, path, ["path", "label"])
    problems = []
    for column in ("path", "label", "group"):
        if column in table and (blank := int((table[column].str.strip() == "").sum())):
            problems.append(f"{blank} rows have no {column}")
    twice = int(table["path"].duplicated().sum())
    if twice:
        problems.append(f"{twice} paths appear more than once")
    splits = table["split"].str.strip().str.lower() if "split" in table else None
    if splits is not None and (odd := sorted(set(splits) - set(_SPLIT_NAMES))):
        problems.append(f"split {odd[0]!r} is not one of train, val, test")
    files = [path.parent / item for item in table["path"]]
    absent = [str(file) for file in files if not file.is_file()]
    if absent:
        problems.append(f"{len(absent)} images are not there:\n{listing(absent)}")
    if problems:
        raise DataError(f"dataset {spec.name}: {path}: " + "\n".join(problems))
    samples = [
        Sample(item, label, item, _SPLIT_NAMES[split] if split else None)
        for item, label, split in zip(
            table["path"],
            table["label"].str.strip(),
            splits if splits is not None else [""] * len(table),
            strict=True,
        )
    ]
    if "group" not in table:
        return _grouped(spec, samples)
    groups = table["group"].str.strip()
    return [Sample(s.path, s.label, g, s.split) for s, g in zip(samples, groups, strict=True)]


def _read_table(spec: DatasetSpec, path: Path, required: list[str]) -> "pd.DataFrame":
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise DataError(f"dataset {spec.name}: {path} is not a CSV table: {error}") from None
    for column in required:
        if column not in table:
            raise DataError(
                f"dataset {spec.name}: {path} has no column {column!r}; it has "
                f"{', '.join(table.columns)}{nearest(column, table.columns)}"
            )
    if table.empty:
        raise DataError(f"dataset {spec.name}: {path} has no rows")
    return table


def _medmnist(spec: DatasetSpec, path: Path) -> list[Sample]:
    arrays = read_npz(spec, path)
    samples = []
    for split in ("train", "val", "test"):
        if f"{split}_images" not in arrays:
            continue
        labels = np.asarray(arrays[f"{split}_labels"]).reshape(len(arrays[f"{split}_images"]), -1)
        if labels.shape[1] != 1:
            raise DataError(f"dataset {spec.name}: {path} has several labels an image; one is read")
        samples += [
            Sample(f"{split}/{i:06d}", str(label), f"{split}/{i:06d}", split)
            for i, label in enumerate(labels[:, 0].astype(int))
        ]
    return samples


def read_npz(spec: DatasetSpec, path: Path) -> dict[str, Any]:
    """Return the arrays of a MedMNIST file: ``train_images`` (N, H, W[, 3]) uint8, and so on.

    Raises DataError if it is damaged, holds Python objects, or lacks arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except ValueError as error:
        why = "it holds pickled Python objects, which are not loaded because they can run code"
        reason = why if "pickle" in str(error) else str(error)
        raise DataError(f"dataset {spec.name}: {path} cannot be used: {reason}") from None
    except (OSError, EOFError, BadZipFile, KeyError, NotImplementedError) as error:
        raise DataError(f"dataset {spec.name}: {path} is damaged: {error}") from None
    except Exception as error:  # zlib.error has no public base class
        raise DataError(f"dataset {spec.name}: {path} is damaged: {error}") from None
    for split in ("train", "val", "test"):
        images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_labels")
        if images is None and split != "train":
            continue
        if images is None or labels is None:
            raise DataError(f"dataset {spec.name}: {path} lacks {split}_images or {split}_labels")
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise DataError(
                f"dataset {spec.name}: {split}_images of {path} are {images.dtype} of shape "
                f"{images.shape}; uint8 (N, H, W) or (N, H, W, 3) is read"
            )
        if len(labels) != len(images):
            raise DataError(
                f"dataset {spec.name}: {path} has {len(images)} {split}_images but "
                f"{len(labels)} {split}_labels"
            )
    return arrays


def _digits(spec: DatasetSpec, path: Path) -> list[Sample]:
    from sklearn.datasets import load_digits

    return [
        Sample(f"{i:04d}", str(label), f"{i:04d}", None)
        for i, label in enumerate(load_digits().target)
    ]


def _ham10000(spec: DatasetSpec, root: Path) -> list[Sample]:
    """HAM10000's own tree: a metadata table and image folders; the lesion is the group."""
    path = root / "HAM10000_metadata.csv"
    if not path.is_file():
        raise DataError(f"dataset {spec.name}: {path} is not there. {HOW_TO_GET['ham10000']}.")
    table = _read_table(spec, path, ["image_id", "dx", "lesion_id"])
    files = {file.stem: file for file in root.rglob("*.jpg")}
    absent = [name for name in table["image_id"] if name not in files]
    if absent:
        raise DataError(
            f"dataset {spec.name}: {len(absent)} images of {path} are not there:\n{listing(absent)}"
        )
    return [
        Sample(str(files[row.image_id].relative_to(root)), row.dx, row.lesion_id, None)
        for row in table.itertuples()
    ]


_READERS: dict[str, Callable[[DatasetSpec, Path], list[Sample]]] = {
    "folder": _folder,
    "csv": _csv,
    "medmnist": _medmnist,
    "digits": _digits,
    "ham10000": _ham10000,
}
