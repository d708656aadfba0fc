"""Probabilities of pictures that are in no data set, by the kept model of a cell.

Dimensions: P pictures, B of them at once, C classes, F files.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sweep.data.io.csvfile import read_csv, row_of
from sweep.data.layouts.base import Files, Slices, Source, Volume, layout_of
from sweep.data.layouts.tree import images_below
from sweep.data.store.building import StorePlan
from sweep.data.store.image_store import Store, open_store
from sweep.errors import DataError, listing, nearest
from sweep.space.specs import MULTILABEL, DatasetSpec
from sweep.train.calibration import with_temperature
from sweep.train.features import BATCH, trunk_outputs
from sweep.train.kept import KeptModel
from sweep.train.probabilities import as_array

Progress = Callable[[str], Callable[[int, int], None]]


@dataclass(frozen=True)
class GivenFile:
    """A picture or a volume, and the mask of a volume's tumour, if there is one."""

    path: Path
    mask: Path | None = None


@dataclass(frozen=True)
class Predictions:
    """What a model says of files.

    Attributes:
        files: pictures, or volumes.
        probabilities_FC: of their classes, the mean over slices and models; NaN of what cannot be
            read.
        uncalibrated_FC: the same without the models' temperatures; None where they have none.
        problems: number of a file -> why it cannot be read.
    """

    files: list[Path]
    probabilities_FC: NDArray[np.float64]
    uncalibrated_FC: NDArray[np.float64] | None
    problems: dict[int, str]


def files_of(dataset: DatasetSpec, places: Sequence[Path]) -> list[GivenFile]:
    """Return the pictures, or volumes, that are meant by files, folders and tables.

    Args:
        dataset: whether its samples are volumes decides which files are.
        places: a table is a CSV file with a column ``path``, relative to the table, and for
            volumes ``mask``, if there are some.

    Raises:
        DataError: a place is not there, holds no pictures, or is a table without that column, or
            of files that are not there.
    """
    found: list[GivenFile] = []
    for place in places:
        if not place.exists():
            raise DataError(f"{place} is not there")
        own = (
            _rows(place)
            if place.suffix.lower() == ".csv"
            else list(map(GivenFile, _below(dataset, place)))
        )
        if not own:
            raise DataError(f"{place} holds no pictures")
        found += own
    return found


def _rows(path: Path) -> list[GivenFile]:
    try:
        table = read_csv(path)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not a CSV table: {error}") from None
    if "path" not in table:
        names = ", ".join(map(repr, table.columns))
        near = nearest("path", table.columns)
        raise DataError(f"{path} has no column 'path'; it has {names}{near}")
    masks = table["mask"] if "mask" in table else [""] * len(table)
    found = [
        GivenFile(path.parent / name, path.parent / mask if mask else None)
        for name, mask in zip(table["path"], masks, strict=True)
    ]
    if absent := [
        f"row {row_of(i)}: {file}"
        for i, own in zip(table.index, found, strict=True)
        for file in (own.path, own.mask)
        if file and not file.exists()
    ]:
        raise DataError(f"{path}: {len(absent)} files are not there:\n{listing(absent)}")
    return found


def _below(dataset: DatasetSpec, place: Path) -> Iterator[Path]:
    """Yield a file, or what is below a folder: pictures, and folders that are one volume."""
    if place.is_file():
        yield place
        return
    volume_of, is_volume = layout_of(dataset).volume, dict[Path, bool]()
    for file in map(Path, images_below(place)):
        folder = file.parent
        if folder not in is_volume:
            is_volume[folder] = volume_of(folder) is not None
            if is_volume[folder]:
                yield folder
        if not is_volume[folder]:
            yield file


def predict(
    model: KeptModel,
    dataset: DatasetSpec,
    files: list[GivenFile],
    progress: Progress = lambda _: lambda *_: None,
    others: Iterable[KeptModel] = (),
) -> Predictions:
    """Return the class probabilities of pictures, or of volumes where the data set is of those.

    They are decoded as the data set's are, in a folder that is deleted at the end. Of a volume
    without a mask the middle slices are taken.

    Args:
        dataset: the data set of the model's cell.
        progress: called with what is done, returns what is called with how many, of how many.
        others: models of the same cell; the mean of all is returned.

    Raises:
        SweepError: the disk is full, or a package is missing that reads such files.
    """
    names_FP = [_pictures(dataset, file.path) for file in files]
    names = [name for own in names_FP for name in own]
    files_P = np.repeat(np.arange(len(files)), [len(own) for own in names_FP])
    with tempfile.TemporaryDirectory(prefix="sweep-predict-") as folder:
        plan = StorePlan(
            names, [""] * len(names), partial(_source, dataset, files), model.image_size,
            model.preprocessing.interpolation, crop=model.preprocessing.crop,
        )  # fmt: skip
        store = open_store(Path(folder), plan, progress("decoding"))
        sums, models = [np.zeros((len(files), len(model.classes))) for _ in range(2)], 0
        for one in chain([model], others):
            found_PC = _probabilities(one, store, progress("predicting"))
            found_PC[list(store.unreadable)] = np.nan
            raw_PC = with_temperature(found_PC, 1 / one.temperature, one.target == MULTILABEL)
            for total_FC, values_PC in zip(sums, (found_PC, raw_PC), strict=True):
                np.add.at(total_FC, files_P, values_PC)
            models += 1
    slices_F1 = np.bincount(files_P, minlength=len(files))[:, None]
    means_FC, raw_FC = (total_FC / models / slices_F1 for total_FC in sums)
    problems: dict[int, str] = {}
    for row, reason in sorted(store.unreadable.items()):
        problems.setdefault(int(files_P[row]), reason)
    paths, raw = [file.path for file in files], raw_FC if model.calibrated else None
    return Predictions(paths, means_FC, raw, problems)


def _pictures(dataset: DatasetSpec, file: Path) -> list[str]:
    """Return the names of a file's pictures: of a volume as many slices as the data set takes."""
    if layout_of(dataset).volume(file) is None:
        return [str(file.absolute())]
    return [f"{file.absolute()}#{rank}" for rank in range(dataset.slices)]


def _source(dataset: DatasetSpec, files: list[GivenFile]) -> Source:
    volume_of = layout_of(dataset).volume
    volumes: dict[str, Volume] = {}
    for file in files:
        if volume := volume_of(place := file.path.absolute(), file.mask and file.mask.absolute()):
            volumes[str(place)] = volume
    return Slices(volumes, dataset.slices) if volumes else Files(Path("/"))


def _probabilities(
    model: KeptModel, store: Store, progress: Callable[[int, int], None]
) -> NDArray[np.float64]:
    """Return the class probabilities (P, C) of every picture of a store."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = model.network.to(device)
    size, count = BATCH[device.type], len(store)
    found = []
    for start in range(0, count, size):
        images = store.rows(np.arange(start, min(start + size, count)))
        logits_BC = trunk_outputs(network, images, model.preprocessing, device)
        found.append(as_array(logits_BC, model.target))
        progress(min(start + size, count), count)
    return np.concatenate(found) if found else np.zeros((0, len(model.classes)))
