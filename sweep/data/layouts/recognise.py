"""Which dataset a name or a path on the command line means."""

import re
from pathlib import Path
from typing import Any

from sweep.errors import DataError, nearest
from sweep.space.datasets import known_datasets, known_entry
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec


def dataset_of(name_or_path: str, data_root: Path, **keys: Any) -> DatasetSpec:
    """Return the dataset of a known name, or of a folder, csv or npz, by what is in it.

    Args:
        keys: of the dataset's entry in a space file, such as layout and group; None: not given.

    Raises:
        DataError: it is neither a known name nor there.
    """
    given = {key: value for key, value in keys.items() if value is not None}
    if (known := known_entry(name_or_path)) is not None:
        return DatasetSpec.model_validate({"name": name_or_path, **known, **given})
    here, there = Path(name_or_path).expanduser(), data_root / name_or_path
    path = here if here.exists() else there
    if not path.exists():
        names = list(known_datasets())
        raise DataError(
            f"{name_or_path!r} is neither a known dataset ({', '.join(names)}) nor a file or "
            f"folder here or under {data_root}{nearest(name_or_path, names)}"
        )
    path = path.absolute()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.stem).strip("._-")
    entry = {"name": name or "dataset", **_entry(path), **given, "path": str(path)}
    return DatasetSpec.model_validate(entry)


def _entry(path: Path) -> dict[str, Any]:
    known = known_entry(path.name)
    if known is not None and path.is_dir():
        return known
    return {"layout": _layout(path)}


def _layout(path: Path) -> str:
    """Return the layout whose signs a path has; a folder or table of images if it has none."""
    usual = "folder" if path.is_dir() else "csv"
    found = (name for name, layout in LAYOUTS.items().items() if layout.recognises(path))
    return next((name for name in found if name != usual), usual)
