"""NIH ChestX-ray14 (Wang et al. 2017): frontal chest X-rays with any of 14 findings."""

from pathlib import Path
from typing import ClassVar

from sweep.data.layouts.base import Layout, read_table
from sweep.data.layouts.csv import blank_values, texts_without_labels
from sweep.data.layouts.tree import images_below
from sweep.data.manifest import Sample
from sweep.errors import DataError, listing
from sweep.space.datasets import KnownDataset
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec

TABLE = "Data_Entry_2017*.csv"
_TEST_LIST = "test_list.txt"
_IMAGE, _LABELS, _PATIENT = "Image Index", "Finding Labels", "Patient ID"


class ChestXray14(Layout):
    """The table of findings, the list of the test images, and the folders of images."""

    signs = (TABLE,)
    known: ClassVar = {
        "chest_xray14": KnownDataset(
            {
                "path": ["chest_xray14", "ChestX-ray14", "NIH-Chest-X-rays", "chest_xray14"],
                "multilabel": True,
                "augment": "xray",
            },
            "NIH Clinical Center, nihcc.app.box.com/v/ChestXray-NIHCC: Data_Entry_2017_v2020.csv, "
            "test_list.txt and the folders of images there",
            (112120, 14),
        )
    }

    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name the images of the table; those of the list are the test split.

        Patients are groups. Without the list the dataset brings no splits.
        """
        place = _table(spec, path)
        table = read_table(spec, place, [_IMAGE, _LABELS, _PATIENT])
        problems = blank_values(table, [_IMAGE, _LABELS, _PATIENT])
        problems += texts_without_labels(table[_LABELS])
        if twice := int(table[_IMAGE].duplicated().sum()):
            problems.append(f"{twice} images appear more than once")
        if problems:
            raise DataError(f"dataset {spec.name}: {place}: " + "\n".join(problems))
        files = {Path(file).name: file[len(str(path)) + 1 :] for file in images_below(path)}
        if absent := [name for name in table[_IMAGE] if name not in files]:
            raise DataError(
                f"dataset {spec.name}: {len(absent)} images of {place} are not there:\n"
                f"{listing(absent)}\nUnpack all folders of images, or leave their rows out."
            )
        test = _test_images(spec, path)
        if test is not None and not test & set(table[_IMAGE]):
            raise DataError(f"dataset {spec.name}: {_TEST_LIST} names no image of {place}")
        columns = (table[_IMAGE], table[_LABELS], table[_PATIENT])
        return [
            Sample(files[image], labels, patient, _split(image, test))
            for image, labels, patient in zip(*columns, strict=True)
        ]

    def attributes(self, spec: DatasetSpec, path: Path) -> dict[str, dict[str, str]]:
        """Return the columns of the table: age, sex, view position."""
        table = read_table(spec, _table(spec, path), [_IMAGE])
        files = {Path(file).name: file[len(str(path)) + 1 :] for file in images_below(path)}
        paths = [files.get(name, name) for name in table[_IMAGE]]
        return {str(name): dict(zip(paths, table[name], strict=True)) for name in table.columns}


def _table(spec: DatasetSpec, root: Path) -> Path:
    found = sorted(root.glob(TABLE))
    if not found:
        raise DataError(f"dataset {spec.name}: {root / TABLE} is not there")
    return found[-1]  # of several the newest version


def _test_images(spec: DatasetSpec, root: Path) -> set[str] | None:
    """Return the names in the list of test images; None without it."""
    listed = next(iter(sorted(root.rglob(_TEST_LIST))), None)
    if listed is None:
        return None
    try:
        return set(listed.read_text("utf-8").split())
    except UnicodeDecodeError:
        raise DataError(f"dataset {spec.name}: {listed} is damaged: it is no text") from None


def _split(image: str, test: set[str] | None) -> str | None:
    return None if test is None else "test" if image in test else "train"


LAYOUTS.register("chest_xray14", ChestXray14())
