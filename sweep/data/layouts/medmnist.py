"""MedMNIST (Yang et al. 2023): images and labels of each split as arrays in one npz file."""

import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile, ZipFile

import numpy as np
import psutil
from PIL import Image

from sweep.data.io.extras import extra
from sweep.data.io.images import from_array
from sweep.data.layouts.base import Layout, stamp_of
from sweep.data.manifest import SPLITS, Sample
from sweep.data.multilabel import join_labels
from sweep.data.values import clean, is_missing
from sweep.errors import DataError, first_line
from sweep.space.datasets import KnownDataset
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec

# MedMNIST's 2D sets; larger versions are called NAME_64, NAME_128 and NAME_224.
_NAMES = (
    "pathmnist",
    "dermamnist",
    "octmnist",
    "pneumoniamnist",
    "retinamnist",
    "breastmnist",
    "chestmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
)


_AUGMENT = {
    "pneumoniamnist": "xray",
    "retinamnist": "fundus",
    "dermamnist": "dermoscopy",
    "chestmnist": "xray",
}

_CHEST = (
    "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia",
    "pneumothorax", "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia",
)  # fmt: skip
_ORDERED = {"retinamnist"}  # grades of diabetic retinopathy, 0 to 4


def _known(name: str) -> KnownDataset:
    keys: dict[str, Any] = {"path": f"{name}.npz"}
    base = name.partition("_")[0]
    if augment := _AUGMENT.get(base):
        keys["augment"] = augment
    if base in _ORDERED:
        keys["ordered"] = True
    if base == "chestmnist":
        keys["multilabel"] = list(_CHEST)
    return KnownDataset(keys, f"with a network: sweep data prepare {name}")


class MedMNIST(Layout):
    """Arrays of small images and of labels for each split, in one npz file."""

    is_file = True
    are_arrays = True
    known: ClassVar = {name: _known(name) for name in _NAMES}

    def known_dataset(self, name: str) -> KnownDataset | None:
        """Return a set of MedMNIST, at 28 pixels or as NAME_64, NAME_128, NAME_224."""
        base, separator, size = name.partition("_")
        sized = not separator or size in {"64", "128", "224"}
        return _known(name) if base in self.known and sized else None

    def recognises(self, path: Path) -> bool:
        """Tell a file by its suffix."""
        return path.is_file() and path.suffix == ".npz"

    def download(self, spec: DatasetSpec, target: Path) -> bool:
        """Download a set of MedMNIST; nothing half-downloaded remains."""
        if self.known_dataset(spec.name) is None:
            return False
        medmnist = extra("medmnist")
        name, _, size = spec.name.partition("_")
        maker = getattr(medmnist, medmnist.INFO[name]["python_class"])
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            try:
                maker(split="train", download=True, root=folder, size=int(size or 28))
                (Path(folder) / target.name).replace(target)
            except (Exception, SystemExit) as error:  # the download may fail in many ways
                raise DataError(
                    f"dataset {spec.name}: it cannot be downloaded ({first_line(error)}); on a "
                    f"machine with a network, get {target.name} from zenodo.org (MedMNIST v2) and "
                    f"put it at {target}"
                ) from None
        return True

    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name the rows of the splits' arrays."""
        arrays = read_npz(spec, path)
        samples = []
        for split in SPLITS:
            if f"{split}_images" not in arrays:
                continue
            labels = np.asarray(arrays[f"{split}_labels"]).reshape(
                len(arrays[f"{split}_images"]), -1
            )
            if labels.shape[1] != 1 and not spec.multilabel:
                raise DataError(
                    f"dataset {spec.name}: {path} has several labels an image; write 'multilabel: "
                    "true' into the entry, or their names in the order of the columns"
                )
            words = (
                _label_sets(spec, path, split, labels)
                if spec.multilabel
                else _labels(spec, path, split, labels[:, 0])
            )
            samples += [
                Sample(f"{split}/{i:06d}", label, f"{split}/{i:06d}", split)
                for i, label in enumerate(words)
            ]
        return samples

    def source(self, spec: DatasetSpec, path: Path) -> "_Rows":
        """Open rows of the arrays."""
        return _Rows(spec, path)


def _label_sets(spec: DatasetSpec, path: Path, split: str, labels: Any) -> list[str]:
    """Return the labels of each row as one text; raises DataError for what is not 0 or 1."""
    names = spec.multilabel if isinstance(spec.multilabel, tuple) else None
    count = labels.shape[1]
    if names and len(names) != count:
        raise DataError(
            f"dataset {spec.name}: multilabel names {len(names)} labels, and {path} has {count}"
        )
    if labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"dataset {spec.name}: {split}_labels of {path} are several numbers an image, of which "
            "some are not 0 or 1"
        )
    words = np.array(names or [str(place) for place in range(count)], dtype=object)
    return [join_labels(words[row == 1]) for row in labels]


def _labels(spec: DatasetSpec, path: Path, split: str, values: Any) -> list[str]:
    """Return labels as words; raises DataError for what is no class: a fraction, NaN, a blank."""
    if values.dtype.kind in "US":
        words = [clean(str(value, "utf-8") if isinstance(value, bytes) else value)
                 for value in values.tolist()]  # fmt: skip
        odd = [row for row, word in enumerate(words) if is_missing(word)]
    elif values.dtype.kind in "biuf":
        whole = (
            np.isfinite(values) & (values == np.rint(values)) if values.dtype.kind == "f" else None
        )
        odd = [] if whole is None else np.flatnonzero(~whole).tolist()
        words = [] if odd else [str(value) for value in values.astype(np.int64)]
    else:
        raise DataError(
            f"dataset {spec.name}: {split}_labels of {path} are {values.dtype}; numbers or texts "
            "are read"
        )
    if odd:
        raise DataError(
            f"dataset {spec.name}: {len(odd)} of the {split}_labels of {path} are no class, such "
            f"as {values[odd[0]]!r} (row {odd[0]}); whole numbers or texts are read"
        )
    return words


class _Rows:
    """Rows ``train/000012`` of a MedMNIST file."""

    def __init__(self, spec: DatasetSpec, path: Path) -> None:
        self._spec, self._path = spec, path

    def open(self, name: str) -> Image.Image:
        """Open one row of the split's images."""
        split, row = name.split("/")
        return from_array(self._arrays[f"{split}_images"][int(row)])

    def stamps(self, names: Sequence[str]) -> list[str]:
        """Return the stamp of the file, for every row."""
        return [stamp_of(str(self._path))] * len(names)

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        return read_npz(self._spec, self._path)


def read_npz(spec: DatasetSpec, path: Path) -> dict[str, Any]:
    """Return the arrays of a MedMNIST file: ``train_images`` (N, H, W[, 3]) uint8, and so on.

    Raises DataError if it is damaged, holds Python objects, lacks arrays, or does not fit in
    memory.
    """
    try:
        _refuse_bomb(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except ValueError as error:
        why = "it holds pickled Python objects, which are not loaded because they can run code"
        reason = why if "pickle" in str(error) else str(error)
        raise DataError(f"dataset {spec.name}: {path} cannot be used: {reason}") from None
    except (OSError, EOFError, BadZipFile, KeyError, NotImplementedError) as error:
        raise DataError(f"dataset {spec.name}: {path} is damaged: {error}") from None
    except Exception as error:  # zipfile and zlib errors share no public base class
        raise DataError(f"dataset {spec.name}: {path} is damaged: {error}") from None
    for split in SPLITS:
        _check(spec, path, split, arrays)
    return arrays


def _refuse_bomb(path: Path) -> None:
    with ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    free = psutil.virtual_memory().available
    if unpacked > free:
        raise ValueError(
            f"unpacked it takes {unpacked / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB of memory "
            "are free"
        )


def _check(spec: DatasetSpec, path: Path, split: str, arrays: dict[str, Any]) -> None:
    images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_labels")
    if images is None and split != "train":
        return
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


LAYOUTS.register("medmnist", MedMNIST())
