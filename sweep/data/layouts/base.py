"""What a layout is: how it names its samples, and how the images behind the names are opened."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sweep.data.io.csvfile import read_csv
from sweep.data.io.dicom import is_dicom
from sweep.data.io.extras import extra
from sweep.data.io.images import open_picture
from sweep.data.io.volumes import is_nifti
from sweep.data.manifest import Sample
from sweep.errors import DataError, nearest
from sweep.space.datasets import KnownDataset
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec

if TYPE_CHECKING:
    import pandas as pd


class Source(Protocol):
    """The images of a dataset, by the paths of its manifest."""

    def open(self, name: str) -> Image.Image:
        """Open one image; raises nearly anything for a damaged one."""

    def stamps(self, names: Sequence[str]) -> list[str]:
        """Return what changes when an image's bytes do, such as size and time of its file."""


class Layout(ABC):
    """How one kind of tree, table or array file is read.

    Attributes:
        known: published datasets of this layout, which a space file may name.
        keys: of an entry in a space file, besides those that every layout has. Keys that are no
            field of `DatasetSpec` are found by `DatasetSpec.option`.
        signs: patterns of files or folders that only a folder of this layout has in it.
        is_file: a dataset is one file and not a folder; None where it may be either.
        are_arrays: the images are arrays, and not files that are decoded.
        needs_path: a dataset has a place of its own.
        pools_groups: the predictions for a group's images are scored as one by default, as the
            labels are those of patients.
        names_unused_files: `sweep data check` names files that are no sample.
        has_series: `sweep data check` looks for slices that are missing from DICOM series.
    """

    known: ClassVar[Mapping[str, KnownDataset]] = {}
    keys: frozenset[str] = frozenset()
    signs: tuple[str, ...] = ()
    is_file: bool | None = False
    are_arrays = False
    needs_path = True
    pools_groups = False
    names_unused_files = False
    has_series = False

    @abstractmethod
    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name every sample of a dataset, given where it lies.

        Raises DataError, naming the dataset and files, if it is not as the layout says.
        """

    def attributes(self, spec: DatasetSpec, path: Path) -> dict[str, dict[str, str]]:
        """Return what else a table says of samples: of each column its value by sample path.

        Of what is no sample there may be values, too.
        """
        return {}

    def source(self, spec: DatasetSpec, path: Path) -> Source:
        """Return what opens the images of the samples; by default files below the path."""
        return Files(path)

    def volume(self, path: Path, mask: Path | None = None) -> Volume | None:
        """Return what gives the slices of a file or folder that is one volume; None for a picture.

        For files that are in no dataset, and are predicted.

        Args:
            mask: of a volume's tumour, if there is one.
        """
        return None

    def known_dataset(self, name: str) -> KnownDataset | None:
        """Return what a name in a space file stands for, or None."""
        return self.known.get(name)

    def recognises(self, path: Path) -> bool:
        """Tell whether a file or folder is of this layout, by its signs."""
        return path.is_dir() and any(next(path.glob(sign), None) for sign in self.signs)

    def download(self, spec: DatasetSpec, target: Path) -> bool:
        """Download a dataset to where it belongs; False where that cannot be done by a program.

        Raises DataError if it fails.
        """
        return False


def layout_of(spec: DatasetSpec) -> Layout:
    """Return the layout of a dataset."""
    found: Layout = LAYOUTS.get(spec.layout)
    return found


@dataclass(frozen=True)
class Files:
    """Images that are files, named relative to a folder."""

    root: Path

    def open(self, name: str) -> Image.Image:
        """Open an image file."""
        return open_picture(self.root / name)

    def stamps(self, names: Sequence[str]) -> list[str]:
        """Return the size and time of each file."""
        root = str(self.root)
        return [stamp_of(os.path.join(root, name)) for name in names]  # noqa: PTH118 - 100,000 files


class Volume(Protocol):
    """Something that gives slices to look at."""

    def slices(self, count: int) -> list[NDArray[np.uint8]]:
        """Return `count` slices, (H, W) or (H, W, 3), the most telling first."""

    def files(self) -> Sequence[Path]:
        """Return the files that the slices depend on."""


class Slices:
    """Slices of volumes as images: ``NAME#0`` is the most telling one of the volume NAME."""

    def __init__(self, volumes: dict[str, Volume], count: int) -> None:
        self._volumes, self._count = volumes, count
        self._slices = lru_cache(maxsize=4)(self._read)

    def open(self, name: str) -> Image.Image:
        """Open one slice; the volume's other slices are then at hand."""
        volume, _, rank = name.rpartition("#")
        return Image.fromarray(self._slices(volume)[int(rank)])

    def stamps(self, names: Sequence[str]) -> list[str]:
        """Return sizes and times of the files of each slice's volume."""
        of_volume = {
            name: " ".join(stamp_of(str(file)) for file in volume.files())
            for name, volume in self._volumes.items()
        }
        return [of_volume[name.rpartition("#")[0]] for name in names]

    def _read(self, name: str) -> list[NDArray[np.uint8]]:
        return self._volumes[name].slices(self._count)


def slice_samples(volumes: Iterable[Sample], count: int) -> list[Sample]:
    """Return `count` samples, one for each slice, in the place of each volume."""
    return [
        Sample(f"{volume.path}#{rank}", volume.label, volume.group, volume.split)
        for volume in volumes
        for rank in range(count)
    ]


def stamp_of(path: str) -> str:
    """Return the size and the time of a file's last change."""
    status = os.stat(path)  # noqa: PTH116 - for each of 100,000 files
    return f"{status.st_size} {status.st_mtime_ns}"


def require_extras(paths: Iterable[Path]) -> None:
    """Raise DataError if a file among these needs a package that is not installed."""
    of_suffix = {path.suffix.lower(): path for path in paths}
    if any(is_dicom(path) for path in of_suffix.values()):
        extra("pydicom")
    if any(is_nifti(path) for path in of_suffix.values()):
        extra("nibabel")


def read_table(spec: DatasetSpec, path: Path, required: Sequence[str]) -> pd.DataFrame:
    """Read a table as text; see `sweep.data.io.csvfile`.

    Raises DataError if it is no table, has no rows, or lacks a required column.
    """
    try:
        table = read_csv(path)
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"dataset {spec.name}: {path} is not a CSV table: {reason}") from None
    for column in required:
        if column not in table:
            raise DataError(
                f"dataset {spec.name}: {path} has no column {column!r}; it has "
                f"{', '.join(map(repr, table.columns))}{nearest(column, table.columns)}"
            )
    if table.empty:
        raise DataError(f"dataset {spec.name}: {path} has no rows")
    return table
