"""Which dataset a name or a path on the command line means."""

import re
from pathlib import Path
from typing import Any

from sweep.data.io.csvfile import columns_of
from sweep.errors import DataError, nearest
from sweep.space.catalog import DATASETS, known_dataset
from sweep.space.model import DatasetSpec

# What a folder of each layout has in it.
_SIGNS = {
    "ham10000": ("HAM10000_metadata.csv",),
    "ichallenge_pm": ("PALM-Training400", "PALM-Training400*"),
    "ichallenge_amd": ("Training400", "AMD-Training400*"),
    "lgg_mri": ("TCGA_*/*.tif",),
    "volumes": ("volumes.csv", "name_mapping.csv", "HGG/*/*.nii*", "UCSF-PDGM-metadata*.csv"),
}


def dataset_of(name_or_path: str, data_root: Path, **keys: Any) -> DatasetSpec:
    """Return the dataset of a known name, or of a folder, csv or npz, by what is in it.

    Args:
        keys: of the dataset's entry in a space file, such as layout and group; None: not given.

    Raises:
        DataError: it is neither a known name nor there.
    """
    given = {key: value for key, value in keys.items() if value is not None}
    if (known := known_dataset(name_or_path)) is not None:
        return DatasetSpec.model_validate({"name": name_or_path, **known, **given})
    here, there = Path(name_or_path).expanduser(), data_root / name_or_path
    path = here if here.exists() else there
    if not path.exists():
        raise DataError(
            f"{name_or_path!r} is neither a known dataset ({', '.join(DATASETS)}) nor a file or "
            f"folder here or under {data_root}{nearest(name_or_path, DATASETS)}"
        )
    path = path.absolute()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.stem).strip("._-")
    entry = {"name": name or "dataset", **_entry(path), **given, "path": str(path)}
    return DatasetSpec.model_validate(entry)


def _entry(path: Path) -> dict[str, Any]:
    known = known_dataset(path.name)
    if known is not None and path.is_dir():
        return known
    return {"layout": _layout(path)}


def _layout(path: Path) -> str:
    if path.is_dir():
        for layout, signs in _SIGNS.items():
            if any(next(path.glob(sign), None) for sign in signs):
                return layout
        return "folder"
    if path.suffix == ".npz":
        return "medmnist"
    return "volumes" if {"patient", "modality"} <= set(columns_of(path)) else "csv"
