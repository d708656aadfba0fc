"""TCGA lower-grade glioma (Buda et al. 2019): a folder of slices a patient, grades in a table.

A slice is a TIFF whose three channels are three sequences (before contrast, FLAIR, after
contrast), with a mask of the tumour beside it. The grade belongs to the patient, so the slices
of one with the most tumour are looked at, as in a volume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sweep.data.io.volumes import select_slices
from sweep.data.layouts.base import Layout, Slices, Volume, read_table, slice_samples
from sweep.data.layouts.tree import subfolders
from sweep.data.manifest import Sample
from sweep.errors import DataError
from sweep.space.datasets import KnownDataset
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec

_GRADES = {"1": "grade 2", "2": "grade 3"}  # data.csv codes WHO grade II as 1 and III as 2


@dataclass(frozen=True)
class _Patient:
    """The slices of one patient."""

    folder: Path

    def slices(self, count: int) -> list[NDArray[np.uint8]]:
        """Return the `count` slices (H, W, 3) with the most tumour."""
        pictures = [path for path in self.files() if not path.stem.endswith("_mask")]
        masks = [path.with_name(f"{path.stem}_mask{path.suffix}") for path in pictures]
        tumour = [int((np.asarray(Image.open(m)) > 0).sum()) for m in masks if m.is_file()]
        extent_Z = np.asarray(tumour) if len(tumour) == len(pictures) else None
        chosen = select_slices(len(pictures), count, extent_Z)
        return [np.asarray(Image.open(pictures[z]).convert("RGB")) for z in chosen]

    def files(self) -> Sequence[Path]:
        """Return slices and masks in the order of the slices."""
        return sorted(self.folder.glob("*.tif"), key=_number)


def _number(path: Path) -> tuple[int, str]:
    number = path.stem.removesuffix("_mask").rpartition("_")[2]
    return (int(number) if number.isdecimal() else 0), path.name


def _folders(root: Path) -> dict[str, Path]:
    """Return each patient's folder: TCGA_CS_4941_19960909 is of patient TCGA_CS_4941."""
    return {"_".join(path.name.split("_")[:3]): path for path in subfolders(root)}


class LggMri(Layout):
    """Slices of lower-grade gliomas, three sequences each."""

    keys = frozenset({"slices"})
    signs = ("TCGA_*/*.tif",)
    pools_groups = True
    known: ClassVar = {
        "lgg_mri": KnownDataset(
            {
                "path": [
                    "lgg_mri/kaggle_3m",
                    "lgg-mri-segmentation/kaggle_3m",
                    "kaggle_3m",
                    "lgg_mri",
                ],
                "augment": "mri",
            },
            "Kaggle, 'Brain MRI segmentation' (mateuszbuda/lgg-mri-segmentation): unpack "
            "kaggle_3m/ there",
            (327, 2),
        )
    }

    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name the slices of every patient; those whose grade is not in data.csv are left out."""
        root, folders = path, _folders(path)
        if not (root / "data.csv").is_file():
            raise DataError(f"dataset {spec.name}: {root / 'data.csv'} is not there")
        table = read_table(spec, root / "data.csv", ["Patient", "neoplasm_histologic_grade"])
        # The code is written as 2 or as 2.0.
        codes = table["neoplasm_histologic_grade"].str.split(".").str[0]
        rows = zip(table["Patient"], codes, strict=True)
        grades = {patient: _GRADES[code] for patient, code in rows if code in _GRADES}
        patients = [
            Sample(folder.name, grades[patient], patient, None)
            for patient, folder in folders.items()
            if patient in grades
        ]
        if not patients:
            raise DataError(
                f"dataset {spec.name}: no folder in {root} is of a patient with a grade"
            )
        return slice_samples(patients, spec.slices)

    def attributes(self, spec: DatasetSpec, path: Path) -> dict[str, dict[str, str]]:
        """Return the columns of data.csv, for every slice of a patient."""
        table = read_table(spec, path / "data.csv", ["Patient"]).set_index("Patient")
        folders = {patient: f.name for patient, f in _folders(path).items()}
        rows = {folders[name]: row for name, row in table.iterrows() if name in folders}
        return {
            str(column): {
                f"{folder}#{rank}": row[column]
                for folder, row in rows.items()
                for rank in range(spec.slices)
            }
            for column in table.columns
        }

    def source(self, spec: DatasetSpec, path: Path) -> Slices:
        """Open slices of the patients."""
        patients: dict[str, Volume] = {folder.name: _Patient(folder) for folder in subfolders(path)}
        return Slices(patients, spec.slices)

    def volume(self, path: Path, mask: Path | None = None) -> Volume | None:
        """Return a patient's slices, if it is a folder of them: their masks lie beside them."""
        patient = _Patient(path)
        return patient if path.is_dir() and patient.files() else None


LAYOUTS.register("lgg_mri", LggMri())
