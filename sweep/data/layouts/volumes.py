"""Volumes with a grade: a clinic's own table, BraTS 2018-2020, UCSF-PDGM.

Which of the three a folder is, its table tells: ``volumes.csv``, ``name_mapping.csv`` (or
folders HGG and LGG), or ``UCSF-PDGM-metadata*.csv``.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sweep.data.io.csvfile import columns_of, row_of
from sweep.data.io.dicom import is_dicom
from sweep.data.io.extras import extra
from sweep.data.io.volumes import VolumeFile
from sweep.data.layouts.base import Layout, Slices, Volume, read_table, slice_samples
from sweep.data.layouts.csv import blank_values
from sweep.data.layouts.folder import SPLIT_NAMES
from sweep.data.layouts.tree import subfolders
from sweep.data.manifest import Sample
from sweep.errors import DataError, listing
from sweep.space.datasets import KnownDataset
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec

_SAME = {"t1c": "t1ce", "t1gd": "t1ce", "t1post": "t1ce", "t1w": "t1", "t2w": "t2", "fla": "flair"}
_UCSF = {"t1": "T1", "t1ce": "T1c", "t2": "T2", "flair": "FLAIR"}
_UCSF_EXAM = re.compile(r"^UCSF-PDGM-0*(\d+)(_FU\w*?)?(?:_nifti)?$")
_NIFTI = (".nii.gz", ".nii")


@dataclass(frozen=True)
class _Exam:
    """One volume of a patient; paths are relative to the dataset's folder."""

    path: str
    grade: str
    patient: str
    mask: str | None = None
    split: str | None = None


def _exams(spec: DatasetSpec, path: Path) -> list[_Exam]:
    """Return the volumes of the dataset's modality."""
    if path.is_file():
        return _of_table(spec, path)
    if (path / "volumes.csv").is_file():
        return _of_table(spec, path / "volumes.csv")
    for folder in (path, *_below(path, 2)):
        for metadata in sorted(folder.glob("UCSF-PDGM-metadata*.csv")):
            return _of_ucsf(spec, path, metadata)
    if (brats := _brats_folder(path)) is not None:
        return _of_brats(spec, path, brats)
    raise DataError(
        f"dataset {spec.name}: {path} is none of the trees that are known: a folder with "
        "volumes.csv, BraTS (name_mapping.csv, or folders HGG and LGG), UCSF-PDGM "
        "(UCSF-PDGM-metadata*.csv)"
    )


def _of_table(spec: DatasetSpec, path: Path) -> list[_Exam]:
    table = read_table(spec, path, ["patient", "modality", "path", "grade"])
    problems = blank_values(table, ["patient", "modality", "path", "grade"])
    table["modality"] = table["modality"].map(_modality)
    wanted, found = _modality(spec.modality or ""), sorted(set(table["modality"]))
    if not wanted and len(found) > 1:
        problems.append(f"it has {', '.join(found)}: choose one with the key 'modality'")
    elif wanted and wanted not in found:
        problems.append(f"no row has modality {wanted!r}; it has {', '.join(found)}")
    rows = table[table["modality"] == wanted] if wanted else table
    exams, absent = [], []
    for index, row in rows.iterrows():
        mask, split = row.get("mask") or None, (row.get("split") or "").lower()
        absent += [
            f"row {row_of(index)}: {path.parent / name}"
            for name in (row["path"], mask)
            if name and not (path.parent / name).exists()
        ]
        if split and split not in SPLIT_NAMES:
            problems.append(f"split {split!r} is not one of train, val, test (row {row_of(index)})")
        exams.append(_Exam(row["path"], row["grade"], row["patient"], mask, SPLIT_NAMES.get(split)))
    twice = rows.index[rows["path"].duplicated()]
    if len(twice):
        problems.append(f"{len(twice)} paths appear more than once: row {row_of(twice[0])}")
    if absent:
        problems.append(f"{len(absent)} files are not there:\n{listing(absent)}")
    if problems:
        raise DataError(f"dataset {spec.name}: {path}: " + "\n".join(problems))
    return exams


def _of_brats(spec: DatasetSpec, root: Path, brats: Path) -> list[_Exam]:
    """BraTS: a folder a patient; its grade by name_mapping.csv, else by the folder above."""
    grades: dict[str, str] = {}
    if (brats / "name_mapping.csv").is_file():
        table = read_table(spec, brats / "name_mapping.csv", ["Grade"])
        for column in (name for name in table.columns if "subject_ID" in name):
            grades |= dict(zip(table[column], table["Grade"], strict=True))
    folders = [
        (folder, above.name if above.name in {"HGG", "LGG"} else None)
        for above in (brats, brats / "HGG", brats / "LGG")
        if above.is_dir()
        for folder in subfolders(above)
        if folder.name not in {"HGG", "LGG"}
    ]
    exams, ungraded = [], []
    for folder, named in folders:
        grade = named or grades.get(folder.name)
        if grade is None:
            ungraded.append(folder.name)
            continue
        volume = _nifti(spec, folder, f"_{_require_modality(spec)}")
        mask = next(iter(sorted(folder.glob("*[Ss]eg*.nii*"))), None)
        relative = str(mask.relative_to(root)) if mask else None
        exams.append(_Exam(str(volume.relative_to(root)), grade, folder.name, relative))
    if ungraded:
        raise DataError(
            f"dataset {spec.name}: {len(ungraded)} patients of {brats} have no grade in "
            f"name_mapping.csv and lie in no folder HGG or LGG:\n{listing(ungraded)}"
        )
    return exams


def _of_ucsf(spec: DatasetSpec, root: Path, metadata: Path) -> list[_Exam]:
    """UCSF-PDGM: UCSF-PDGM-0004_nifti is the exam that the table calls UCSF-PDGM-004."""
    table = read_table(spec, metadata, ["ID", "WHO CNS Grade"])
    grades = {
        exam.groups(): f"grade {grade}"
        for name, grade in zip(table["ID"], table["WHO CNS Grade"], strict=True)
        if grade and (exam := _UCSF_EXAM.match(name))
    }
    exams = []
    for folder in _below(root, 3):
        exam = _UCSF_EXAM.match(folder.name)
        if exam is None or exam.groups() not in grades:
            continue
        volume = _nifti(spec, folder, f"_{_UCSF[_require_modality(spec)]}")
        mask = next(iter(sorted(folder.glob("*_tumor_segmentation.nii*"))), None)
        relative = str(mask.relative_to(root)) if mask else None
        grade = grades[exam.groups()]
        exams.append(_Exam(str(volume.relative_to(root)), grade, exam.group(1), relative))
    return exams


def _brats_folder(path: Path) -> Path | None:
    """Return the folder of the patients: this one, or one a little further down."""
    for folder in (path, *_below(path, 2)):
        if (folder / "name_mapping.csv").is_file() or (folder / "HGG").is_dir():
            return folder
    return None


def _below(path: Path, depth: int) -> Iterator[Path]:
    for folder in subfolders(path):
        yield folder
        if depth > 1:
            yield from _below(folder, depth - 1)


def _nifti(spec: DatasetSpec, folder: Path, ending: str) -> Path:
    for suffix in _NIFTI:
        for path in sorted(folder.glob(f"*{ending}{suffix}")):
            return path
    raise DataError(f"dataset {spec.name}: {folder} holds no *{ending}.nii.gz")


def _require_modality(spec: DatasetSpec) -> str:
    modality = _modality(spec.modality or "")
    if modality not in _UCSF:
        raise DataError(
            f"dataset {spec.name}: its key 'modality' is {spec.modality!r}; one of "
            f"{', '.join(_UCSF)} is wanted"
        )
    return modality


def _modality(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return _SAME.get(plain, plain)


def _root(path: Path) -> Path:
    return path.parent if path.is_file() else path


class Volumes(Layout):
    """Slices of one modality; those with the most tumour, where there is a mask."""

    keys = frozenset({"modality", "slices"})
    signs = ("volumes.csv", "name_mapping.csv", "HGG/*/*.nii*", "UCSF-PDGM-metadata*.csv")
    is_file = None
    pools_groups = True
    has_series = True
    known: ClassVar = {
        f"glioma_{modality}": KnownDataset(
            {
                # A clinic's own table, UCSF-PDGM and BraTS, under their published names.
                "path": ["glioma_volumes", "*UCSF-PDGM*", "*BraTS*", "*brats*", "glioma"],
                "modality": modality,
                "augment": "mri",
            },
            "Put one of these under the data root: glioma_volumes/ with your own volumes.csv "
            "(patient, modality, path, grade), UCSF-PDGM*/ (The Cancer Imaging Archive), "
            "MICCAI_BraTS*/ of 2018, 2019 or 2020",
            (1107, 2),
        )
        for modality in ("t1", "t1ce", "t2", "flair")
    }

    def recognises(self, path: Path) -> bool:
        """Tell a folder by its signs, a table by its columns."""
        if path.is_file() and path.suffix != ".npz":
            return {"patient", "modality"} <= set(columns_of(path))
        return super().recognises(path)

    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name the slices of every volume."""
        extra("nibabel")
        exams, root = _exams(spec, path), _root(path)
        if any((root / exam.path).is_dir() or is_dicom(root / exam.path) for exam in exams):
            extra("pydicom")
        volumes = [Sample(e.path, e.grade, e.patient, e.split) for e in exams]
        return slice_samples(volumes, spec.slices)

    def attributes(self, spec: DatasetSpec, path: Path) -> dict[str, dict[str, str]]:
        """Return the columns of a clinic's own table, for every slice of a volume."""
        file = path if path.is_file() else path / "volumes.csv"
        if not file.is_file():
            return {}
        table = read_table(spec, file, ["path"])
        return {
            str(column): {
                f"{name}#{rank}": value
                for name, value in zip(table["path"], table[column], strict=True)
                for rank in range(spec.slices)
            }
            for column in table.columns
        }

    def source(self, spec: DatasetSpec, path: Path) -> Slices:
        """Open slices of the volumes."""
        root = _root(path)
        volumes: dict[str, Volume] = {
            exam.path: VolumeFile(root / exam.path, root / exam.mask if exam.mask else None)
            for exam in _exams(spec, path)
        }
        return Slices(volumes, spec.slices)

    def volume(self, path: Path, mask: Path | None = None) -> Volume | None:
        """Return a NIfTI file, a DICOM file of several frames, or the folder of a DICOM series."""
        if path.is_dir():
            with os.scandir(path) as entries:
                files = [entry.path for entry in entries if entry.is_file()]
            return VolumeFile(path, mask) if any(is_dicom(Path(file)) for file in files) else None
        return VolumeFile(path, mask)


LAYOUTS.register("volumes", Volumes())
