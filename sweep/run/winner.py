"""The confirmed models of a cell: finding them in a sweep's folder."""

from collections.abc import Iterator
from typing import NamedTuple

from sweep.errors import SweepError, nearest
from sweep.records.folder import SweepFolder
from sweep.records.record import RunRecord
from sweep.space.model import Cell
from sweep.train.kept import KeptModel, load_kept


class Winner(NamedTuple):
    """A cell, a model that a confirmation of it has kept, and that confirmation."""

    cell: Cell
    model: KeptModel
    confirmation: RunRecord


def load_winner(folder: SweepFolder, name: str) -> Winner:
    """Load the model of a cell.

    Args:
        name: of the cell, ``dataset/backbone/freeze``.

    Raises:
        SweepError: the sweep has no such cell, or it is not confirmed.
        DamagedError: the model's files are gone or damaged.
    """
    cell = cell_of(folder, name)
    return _load(folder, cell, _with_model(folder, name)[0])


def load_others(folder: SweepFolder, winner: Winner) -> Iterator[Winner]:
    """Load, one after the other, the models of a cell's other confirmations.

    Raises:
        SweepError: they were not kept.
        DamagedError: the files of one are gone or damaged.
    """
    found = _with_model(folder, winner.cell.name)
    if len(found) < 2:
        raise SweepError(
            f"of {winner.cell.name} the first confirmation alone has kept its model: an ensemble "
            "needs 'keep_models: all' in the space, before the launch"
        )
    return (_load(folder, winner.cell, record) for record in found[1:])


def _load(folder: SweepFolder, cell: Cell, record: RunRecord) -> Winner:
    features = record.params.get("features", cell.backbone.features)
    backbone = cell.backbone.model_copy(update={"features": features})
    kept = folder.path / "models" / str(record.model)
    return Winner(cell, load_kept(kept, backbone, cell.freeze), record)


def cell_of(folder: SweepFolder, name: str) -> Cell:
    """Return a cell of a sweep by its name; raises SweepError, with the nearest, for none."""
    cells = {cell.name: cell for cell in folder.space().cells()}
    if name not in cells:
        known = "\n  ".join(cells)
        raise SweepError(
            f"the sweep {folder.name} has no cell {name!r}{nearest(name, cells)}; it has\n  {known}"
        )
    return cells[name]


def _with_model(folder: SweepFolder, name: str) -> list[RunRecord]:
    """Return a cell's confirmations that have kept their model, the newest of each number."""
    newest: dict[int, RunRecord] = {}
    for record in sorted(folder.records(), key=lambda record: (record.round, record.ended)):
        if record.cell == name and record.kind == "confirmation" and record.model:
            newest[record.number] = record
    if not newest:
        raise SweepError(
            f"{name} of {folder.name} has no model yet, as it is not confirmed; see how far it is "
            f"with: sweep status {folder.name}"
        )
    return [record for _, record in sorted(newest.items())]
