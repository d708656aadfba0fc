"""HAM10000 (Tschandl et al. 2018): a metadata table, image folders, the ISIC 2018 test set.

The lesion is the group, as many were photographed several times. The test set is used where
its ground truth is: either the table that the Dataverse offers (``lesion_id``, ``image_id``,
``dx``) or the challenge's own (``image`` and a column of 0 and 1 for each class).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sweep.data.layouts.base import Layout, read_table
from sweep.data.layouts.tree import images_below
from sweep.data.manifest import Sample
from sweep.errors import DataError, listing
from sweep.space.datasets import KnownDataset
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec

if TYPE_CHECKING:
    import pandas as pd

METADATA = "HAM10000_metadata.csv"
_TEST_TRUTH = "ISIC2018_Task3_Test_GroundTruth.csv"


class Ham10000(Layout):
    """Dermoscopic images of seven diagnoses."""

    signs = (METADATA,)
    known: ClassVar = {
        "ham10000": KnownDataset(
            {
                "path": ["ham10000", "HAM10000", "skin-cancer-mnist-ham10000*", "ham10000"],
                "augment": "dermoscopy",
            },
            "Harvard Dataverse, doi 10.7910/DVN/DBW86T: HAM10000_metadata.csv and both image "
            "folders there",
            (10015, 7),
        )
    }

    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name the images of the metadata, and those of the test set where its truth is there."""
        root, metadata = path, _metadata(spec, path)
        files = {Path(file).stem: file[len(str(root)) + 1 :] for file in images_below(root)}
        table = read_table(spec, metadata, ["image_id", "dx", "lesion_id"])
        truth = next(iter(sorted(root.rglob(_TEST_TRUTH))), None)
        if truth is None:
            return _samples(spec, metadata, table, files, None)
        train = _samples(spec, metadata, table, files, "train")
        return train + _samples(spec, truth, _test_table(spec, truth), files, "test")

    def attributes(self, spec: DatasetSpec, path: Path) -> dict[str, dict[str, str]]:
        """Return the columns of the metadata: sex, age, localization."""
        files = {Path(file).stem: file[len(str(path)) + 1 :] for file in images_below(path)}
        table = read_table(spec, _metadata(spec, path), ["image_id"])
        paths = [files.get(name, name) for name in table["image_id"]]
        return {str(name): dict(zip(paths, table[name], strict=True)) for name in table.columns}


def _metadata(spec: DatasetSpec, root: Path) -> Path:
    # The Dataverse serves the file without its suffix.
    for place in (root / METADATA, root / METADATA.removesuffix(".csv")):
        if place.is_file():
            return place
    raise DataError(f"dataset {spec.name}: {root / METADATA} is not there")


def _samples(
    spec: DatasetSpec, path: Path, table: pd.DataFrame, files: dict[str, str], split: str | None
) -> list[Sample]:
    absent = [name for name in table["image_id"] if name not in files]
    if absent:
        raise DataError(
            f"dataset {spec.name}: {len(absent)} images of {path} are not there:\n{listing(absent)}"
        )
    columns = (table["image_id"], table["dx"], table["lesion_id"])
    return [
        Sample(files[image], label, lesion, split)
        for image, label, lesion in zip(*columns, strict=True)
    ]


def _test_table(spec: DatasetSpec, path: Path) -> pd.DataFrame:
    import pandas as pd  # checking a space does not need pandas

    table = read_table(spec, path, [])
    if "image" not in table:
        return read_table(spec, path, ["image_id", "dx", "lesion_id"])
    classes = [column for column in table.columns if column not in {"image", "lesion_id"}]
    chosen = table[classes].astype(float).idxmax(axis=1).str.lower()
    lesions = table["lesion_id"] if "lesion_id" in table else table["image"]
    return pd.DataFrame({"image_id": table["image"], "dx": chosen, "lesion_id": lesions})


LAYOUTS.register("ham10000", Ham10000())
