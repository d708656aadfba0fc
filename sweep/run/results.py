"""The results of a sweep and of a comparison as data frames."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.base.atomic import write_text
from sweep.comparison.api import log_report, render, write
from sweep.comparison.caveats import caveats
from sweep.comparison.comparison import Comparison
from sweep.comparison.formats.tables import sentences
from sweep.errors import SweepError, nearest
from sweep.records.record import RunRecord
from sweep.records.results import CellResult, SweepResults

if TYPE_CHECKING:
    import pandas as pd

_AXES = ("dataset", "backbone", "freeze", "train_fraction")


@dataclass(frozen=True, eq=False)
class Results:
    """What the runs of one sweep have found.

    Attributes:
        sweep: the same as objects: cells, with their records and predictions.
    """

    sweep: SweepResults

    def trials(self) -> "pd.DataFrame":
        """Return a row for each trial that has ended: cell, params, state, scores at its best."""
        return self._frame(lambda cell: cell.trials)

    def confirmations(self) -> "pd.DataFrame":
        """Return a row for each confirmation: cell, params, and ``test/...`` scores."""
        return self._frame(lambda cell: cell.confirmations)

    def history(self, cell: str) -> "pd.DataFrame":
        """Return a row for each epoch of each confirmation of a cell.

        Args:
            cell: its name, ``dataset/backbone/freeze``.
        """
        import pandas as pd

        own = self._cell(cell)
        epochs = [
            {"confirmation": record.number, **entry}
            for record in own.confirmations
            for entry in own.fetch_history(record)
        ]
        return pd.DataFrame(epochs)

    def predictions(self, cell: str) -> "pd.DataFrame":
        """Return the test predictions of each confirmation of a cell, a row for each sample.

        Columns: ``confirmation``, ``sample`` and ``group`` (hashes), ``label``, and ``p_CLASS``.
        """
        import pandas as pd

        own = self._cell(cell)
        tables = [
            own.read(record, str(record.predictions)).to_pandas().assign(confirmation=record.number)
            for record in own.confirmations
        ]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def _cell(self, name: str) -> CellResult:
        known = {cell.name: cell for cell in self.sweep.cells}
        if name not in known:
            raise SweepError(
                f"the sweep {self.sweep.name} has no cell {name!r}{nearest(name, known)}"
            )
        return known[name]

    def _frame(self, runs_of: Callable[[CellResult], list[RunRecord]]) -> "pd.DataFrame":
        import pandas as pd

        return pd.DataFrame([_row(run) for cell in self.sweep.cells for run in runs_of(cell)])


def _row(record: RunRecord) -> dict[str, object]:
    axes = {axis: getattr(record, axis) for axis in _AXES}
    best = {("best/epoch" if k == "epoch" else k): v for k, v in record.best.items()}
    test = {f"test/{name}": value for name, value in record.test.items()}
    about = {"number": record.number, "state": record.state, "seconds": record.seconds}
    return {**axes, **about, **record.params, **best, **test}


@dataclass(frozen=True, eq=False)
class ComparisonResult:
    """What differs between cells, and what it cost.

    Attributes:
        comparison: the same as objects: rows, pairs and verdicts.
    """

    comparison: Comparison

    def cells(self) -> "pd.DataFrame":
        """Return a row for each cell: every metric with its interval and spread, and the cost."""
        from sweep.comparison.formats import frames

        return frames.table(self.comparison)

    def differences(self) -> "pd.DataFrame":
        """Return a row for each pair of cells of a data set: difference, interval, p, verdict."""
        from sweep.comparison.formats import frames

        return frames.differences(self.comparison)

    def sentences(self) -> dict[str, list[str]]:
        """Return the questions that the cells can answer, each with its answers."""
        return sentences(self.comparison)

    def notes(self) -> list[str]:
        """Return what to know before the results are trusted."""
        return caveats(self.comparison)

    def render(self, style: str = "table", width: int | None = None) -> str:
        """Return the comparison as text.

        Args:
            style: table, markdown, latex, csv or json.
            width: of the terminal, for a coloured table.
        """
        return render(self.comparison, style, width)

    def write(self, path: Path | str, style: str) -> None:
        """Write the comparison as a file, in any style of `render` or as ``parquet``."""
        write(self.comparison, style, Path(path))

    def write_report(
        self, path: Path | str, progress: Callable[[str], None] = lambda _: None
    ) -> None:
        """Write all of it as one HTML file; `progress` is called with each part's name."""
        from sweep.comparison.report.page import report

        write_text(Path(path), report(self.comparison, progress))

    def log_report(self, path: Path | str) -> list[str]:
        """Keep a report with the runs of each sweep in MLflow; return why where that fails."""
        return log_report(self.comparison, Path(path))
