"""The results of sweeps by cell: how the search went, and the test predictions of each seed."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweep.errors import SweepError
from sweep.home import RunRecord, SweepFolder
from sweep.space import cell_name


@dataclass(frozen=True)
class Predictions:
    """What one confirmed model said of the test split.

    Attributes:
        labels_N: class indices.
        groups_N: group of each sample, as integers.
        probabilities_NC: class probabilities.
    """

    labels_N: NDArray[np.int64]
    groups_N: NDArray[np.int64]
    probabilities_NC: NDArray[np.float64]


@dataclass(frozen=True)
class CellResult:
    """All that is known of one cell of one sweep.

    Attributes:
        states: how many trials ended in each state.
        confirmations: those that were scored on the test split.
        seconds: of training, over all trials and confirmations.
        error: why the last of its runs failed, if one did.
    """

    sweep: str
    dataset: str
    backbone: str
    freeze: str
    states: Counter[str]
    confirmations: list[RunRecord]
    seconds: float
    started: float
    ended: float
    folder: Path
    error: str | None = None
    train_fraction: float = 1.0

    @property
    def name(self) -> str:
        """The cell, as `Cell.name` writes it."""
        return cell_name(self.dataset, self.backbone, self.freeze, self.train_fraction)

    @property
    def mode(self) -> str:
        """The freeze mode, with the train fraction where it is not all."""
        return self.name.rpartition("/")[2]

    @property
    def folded(self) -> bool:
        """Whether each confirmation was tested on another fold of the dataset."""
        return len({record.facts.get("test_samples") for record in self.confirmations}) > 1

    @property
    def learning_rate(self) -> float | None:
        """The rate of the confirmations."""
        return self.confirmations[0].params["learning_rate"] if self.confirmations else None

    def predictions(self) -> list[Predictions]:
        """Read the test predictions of each confirmation; those of folds as one.

        Raises SweepError if a file is gone.
        """
        tables = [self._read(record) for record in self.confirmations]
        if self.folded:
            tables = [pd.concat(tables, ignore_index=True)]
        return [_as_predictions(table) for table in tables]

    def best(self) -> RunRecord | None:
        """Return the confirmation with the best validation score."""
        return max(self.confirmations, key=lambda r: r.best["value"], default=None)

    def _read(self, record: RunRecord) -> pd.DataFrame:
        path = self.folder / "predictions" / str(record.predictions)
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise SweepError(
                f"the predictions of {self.name} in {path} cannot be read: {error}"
            ) from None


def _as_predictions(table: pd.DataFrame) -> Predictions:
    columns = [name for name in table.columns if name.startswith("p_")]
    return Predictions(
        table["label"].to_numpy(np.int64),
        pd.factorize(table["group"])[0].astype(np.int64),
        table[columns].to_numpy(np.float64),
    )


def read_cells(folder: SweepFolder) -> list[CellResult]:
    """Return the results of every cell of a sweep, in the order of its grid."""
    by_cell: dict[str, list[RunRecord]] = defaultdict(list)
    for record in folder.records():
        by_cell[record.cell].append(record)
    cells = []
    for cell in folder.space().cells():
        records = [r for r in by_cell[cell.name] if r.kind != "cell"]
        trials = [r for r in records if r.kind == "trial"]
        confirmed = [r for r in records if r.kind == "confirmation" and r.predictions]
        cells.append(
            CellResult(
                folder.name,
                cell.dataset.name,
                cell.backbone.name,
                cell.freeze,
                Counter(r.state for r in trials),
                sorted(confirmed, key=lambda r: r.number),
                sum(r.seconds for r in records),
                min((r.started for r in records), default=0.0),
                max((r.ended for r in records), default=0.0),
                folder.path,
                next((r.error for r in reversed(records) if r.error), None),
                cell.train_fraction,
            )
        )
    return cells
