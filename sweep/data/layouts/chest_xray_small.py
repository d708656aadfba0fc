"""500 small chest X-rays that ship with this package: for a first try, without any download."""

from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from sweep.data.layouts.base import Files
from sweep.data.layouts.folder import KERMANY_PATIENT, Folder
from sweep.data.manifest import Sample
from sweep.space.datasets import KnownDataset
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec


class ChestXraySmall(Folder):
    """A part of Kermany's chest X-rays; docs/datasets/chest_xray_small.md says which."""

    needs_path = False
    names_unused_files = False
    known: ClassVar = {
        "chest_xray_small": KnownDataset({"group": KERMANY_PATIENT, "augment": "xray"})
    }

    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name the pictures of the package, wherever the data root is."""
        return super().read(spec, _folder())

    def source(self, spec: DatasetSpec, path: Path) -> Files:
        """Open the pictures of the package."""
        return Files(_folder())


def _folder() -> Path:
    return Path(str(files("sweep.data"))) / "sets" / "chest_xray_small"


LAYOUTS.register("chest_xray_small", ChestXraySmall())
