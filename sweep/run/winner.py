"""The confirmed model of a cell: finding it in a sweep's folder."""

from typing import NamedTuple

from sweep.errors import SweepError, nearest
from sweep.records.folder import SweepFolder
from sweep.records.record import RunRecord
from sweep.space.model import Cell
from sweep.train.kept import KeptModel, load_kept


class Winner(NamedTuple):
    """A cell, the model that its first confirmation has kept, and that confirmation."""

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
    cells = {cell.name: cell for cell in folder.space().cells()}
    if name not in cells:
        known = "\n  ".join(cells)
        raise SweepError(
            f"the sweep {folder.name} has no cell {name!r}{nearest(name, cells)}; it has\n  {known}"
        )
    cell = cells[name]
    record = _with_model(folder, name)
    features = record.params.get("features", cell.backbone.features)
    backbone = cell.backbone.model_copy(update={"features": features})
    kept = folder.path / "models" / str(record.model)
    return Winner(cell, load_kept(kept, backbone, cell.freeze), record)


def _with_model(folder: SweepFolder, name: str) -> RunRecord:
    """Return the newest of a cell's confirmations that have kept their model."""
    found = [
        record
        for record in folder.records()
        if record.cell == name and record.kind == "confirmation" and record.model
    ]
    if not found:
        raise SweepError(
            f"{name} of {folder.name} has no model yet, as it is not confirmed; see how far it is "
            f"with: sweep status {folder.name}"
        )
    return max(found, key=lambda record: (record.round, record.ended))
