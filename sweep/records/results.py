"""The results of a sweep by cell: how the search went, and the test predictions of each seed.

They come from the sweep's folder, or from MLflow alone (`tracking/reader.py`): the rest of the
comparison does not know which.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweep.errors import SweepError, first_line
from sweep.records.folder import SweepFolder
from sweep.records.predictions import PROBABILITY, UNCALIBRATED, Predictions, classes_of
from sweep.records.record import RunRecord
from sweep.space.catalog import family, pretraining
from sweep.space.model import Cell, Space, cell_name
from sweep.space.specs import MULTILABEL

# Of a confirmation, and the name of a file of predictions.
ReadPredictions = Callable[[RunRecord, str], pa.Table]
History = list[dict[str, float]]  # one entry for each epoch: ``epoch``, ``val/auroc``, ...


@dataclass(frozen=True, eq=False)
class CellResult:
    """All that is known of one cell of one sweep.

    Attributes:
        model: timm's name of the backbone.
        states: how many trials ended in each state.
        confirmations: those that were scored on the test split, the latest of each number.
        earlier: those that were done again, as a larger budget gave other rates to choose from.
        seconds: of training, over all trials and confirmations.
        search_flops: floating-point operations of all trials, and of features if it trains on
            them; None if they were not counted.
        read: fetches a file of predictions of a confirmation.
        fetch_trials: fetches the trials.
        fetch_history: fetches the metrics of each epoch of a confirmation.
        fetch_subgroups: fetches the subgroups of the test samples, if they are known: a column
            ``sample`` of hashed ids, and one for each column of the data set's table.
        error: why the last of its runs failed, if one did.
        target: what the labels of its data set are.
    """

    sweep: str
    dataset: str
    backbone: str
    freeze: str
    train_fraction: float
    model: str
    pretraining: str
    states: Counter[str]
    confirmations: list[RunRecord]
    earlier: list[RunRecord]
    seconds: float
    search_flops: float | None
    started: float
    ended: float
    read: ReadPredictions
    fetch_trials: Callable[[], list[RunRecord]]
    fetch_history: Callable[[RunRecord], History]
    fetch_subgroups: Callable[[], pa.Table | None] = lambda: None
    error: str | None = None
    target: str = "multiclass"

    @property
    def name(self) -> str:
        """The cell, as `Cell.name` writes it."""
        return cell_name(self.dataset, self.backbone, self.freeze, self.train_fraction)

    @property
    def mode(self) -> str:
        """The freeze mode, with the train fraction where it is not all."""
        return self.name.rpartition("/")[2]

    @property
    def family(self) -> tuple[str, str]:
        """What backbones of different size have in common: architecture and pre-training."""
        return family(self.model), self.pretraining

    @property
    def folded(self) -> bool:
        """Whether each confirmation was tested on another fold of the dataset."""
        return len(set(self.tests)) > 1

    @property
    def has_positive(self) -> bool:
        """Whether the classes are two, of which the second is the positive one."""
        return len(self.classes) == 2 and self.target != MULTILABEL

    @property
    def tests(self) -> tuple[str, ...]:
        """What each confirmation was tested on: hashes of the samples' names, in their order."""
        tests = [str(record.facts.get("test_samples")) for record in self.confirmations]
        return tuple(tests) if len(set(tests)) > 1 else tuple(tests[:1])

    @property
    def learning_rate(self) -> float | None:
        """The rate that the first confirmation chose."""
        rate = self.chosen("learning_rate")
        return None if rate is None else float(rate)

    def chosen(self, name: str) -> Any:
        """Return what the first confirmation chose of a hyper-parameter, None if there is none."""
        return self.confirmations[0].params.get(name) if self.confirmations else None

    @cached_property
    def trials(self) -> list[RunRecord]:
        """The trials of the search, in the order they were asked for."""
        return self.fetch_trials()

    @cached_property
    def classes(self) -> list[str]:
        """Class names in the order of the labels; empty without confirmations."""
        if not self.confirmations:
            return []
        return classes_of(self._tables[0])

    def predictions(self) -> list[Predictions]:
        """Read the test predictions of each confirmation; those of folds as one.

        Raises SweepError if they are gone or are not probabilities.
        """
        tables = [pa.concat_tables(self._tables)] if self.folded else self._tables
        return [self._as_predictions(table) for table in tables]

    def predictions_by_fold(self) -> list[Predictions] | None:
        """Read the test predictions of each fold; None if the cell has no folds."""
        if not self.folded:
            return None
        return [self._as_predictions(table) for table in self._tables]

    def uncalibrated(self) -> list[Predictions] | None:
        """Read the test predictions as they were before their temperatures; None if there was none.

        Those of folds as one.
        """
        names = {name for table in self._tables for name in table.column_names}
        if not any(name.startswith(UNCALIBRATED) for name in names):
            return None
        tables = [pa.concat_tables(self._tables)] if self.folded else self._tables
        return [self._as_predictions(table, UNCALIBRATED) for table in tables]

    @cached_property
    def samples(self) -> list[str]:
        """The hashed id of each test sample, in the order of the predictions."""
        tested = self._tables if self.folded else self._tables[:1]
        return [name for table in tested for name in table["sample"].to_pylist()]

    @property
    def external_sets(self) -> list[str]:
        """The names of the external test sets that all confirmations were scored on."""
        first, *others = [record.external for record in self.confirmations] or [{}]
        return [name for name in first if all(name in other for other in others)]

    def external(self, name: str) -> list[Predictions]:
        """Read the predictions of each confirmation on an external test set."""
        files = [(r, str(r.external[name]["predictions"])) for r in self.confirmations]
        return [self._as_predictions(self.read(record, file)) for record, file in files]

    @cached_property
    def subgroups(self) -> dict[str, list[str]]:
        """The subgroup of each test sample, in the order of the predictions, by column.

        '' where it is not known; empty without subgroups.
        """
        table = self.fetch_subgroups() if self.confirmations else None
        if table is None:
            return {}
        place = {name: row for row, name in enumerate(table["sample"].to_pylist())}
        rows = [place.get(name) for name in self.samples]
        found = {}
        for column in table.column_names:
            if column != "sample":
                values = table[column].to_pylist()
                found[column] = ["" if row is None else values[row] for row in rows]
        return found

    def first(self) -> RunRecord | None:
        """Return the first confirmation: the one whose model is kept and exported."""
        return self.confirmations[0] if self.confirmations else None

    def fact(self, name: str, default: Any = None) -> Any:
        """Return a fact of the confirmations: of versions, data, size and cost."""
        return self.confirmations[0].facts.get(name, default) if self.confirmations else default

    @cached_property
    def _tables(self) -> list[pa.Table]:
        return [self.read(record, str(record.predictions)) for record in self.confirmations]

    def _as_predictions(self, table: pa.Table, prefix: str = PROBABILITY) -> Predictions:
        try:
            found = Predictions.of_table(table, prefix, self.target)
        except ValueError:
            raise SweepError(
                f"predictions of {self.name} of {self.sweep} are empty or damaged"
            ) from None
        if not np.isfinite(found.probabilities_NC).all():
            raise SweepError(
                f"{self.name} of {self.sweep} predicted probabilities that are not numbers"
            )
        return found


@dataclass(frozen=True, eq=False)
class SweepResults:
    """One sweep: its space, its cells in the order of the grid, and whether it is finished.

    Attributes:
        id: unique among sweeps, also of the same name.
        tracking_uri: the MLflow that holds its runs.
    """

    name: str
    id: str
    space: Space
    cells: list[CellResult]
    finished: bool
    tracking_uri: str


def home_results(folder: SweepFolder) -> SweepResults:
    """Read the results of a sweep from its folder."""
    space = folder.space()
    by_cell: dict[str, list[RunRecord]] = defaultdict(list)
    for record in folder.records():
        if record.kind != "cell":
            by_cell[record.cell].append(record)

    def read(_: RunRecord, file: str) -> pa.Table:
        return read_predictions(folder.path / "predictions" / file)

    cells = [
        cell_result(
            folder.name, cell, by_cell[cell.name], read,
            fetch_subgroups=partial(_subgroups, folder, cell.dataset.name),
        )
        for cell in space.cells()
    ]  # fmt: skip
    kept = folder.settings()
    finished = folder.is_finished()
    return SweepResults(folder.name, kept.id, space, cells, finished, kept.tracking_uri)


def _subgroups(folder: SweepFolder, dataset: str) -> pa.Table | None:
    """Return the subgroups of a data set's samples; None if there are none, or no longer."""
    try:
        return pq.read_table(folder.subgroups(dataset))
    except (OSError, pa.ArrowInvalid):
        return None


@dataclass(frozen=True)
class TrialSummary:
    """What is known of the trials of a cell whose records are not at hand.

    Attributes:
        states: how many trials ended how.
        seconds: of training, those of the confirmations too.
        search_flops: of all trials.
        fetch: gets the records.
    """

    states: Counter[str]
    seconds: float | None
    search_flops: float | None
    fetch: Callable[[], list[RunRecord]]


def cell_result(
    sweep: str,
    cell: Cell,
    records: list[RunRecord],
    read: ReadPredictions,
    summary: TrialSummary | None = None,
    fetch_history: Callable[[RunRecord], History] | None = None,
    fetch_subgroups: Callable[[], pa.Table | None] = lambda: None,
) -> CellResult:
    """Put together what is known of a cell from the records of its trials and confirmations.

    Args:
        summary: of the trials, if they are not among the records.
        fetch_history: how to get the epochs of a confirmation, if its record lacks them.
    """
    trials = sorted((r for r in records if r.kind == "trial"), key=lambda r: r.number)
    if summary is None:
        states, seconds = Counter(r.state for r in trials), sum(r.seconds for r in records)
        summary = TrialSummary(states, seconds, _search_flops(trials), lambda: trials)
    tested, earlier = _latest([r for r in records if r.kind == "confirmation" and r.predictions])
    model = next((r.facts["model"] for r in tested if "model" in r.facts), cell.backbone.model)
    return CellResult(
        sweep,
        cell.dataset.name,
        cell.backbone.name,
        cell.freeze,
        cell.train_fraction,
        model,
        cell.backbone.pretraining or pretraining(model, cell.backbone.weights),
        summary.states,
        tested,
        earlier,
        sum(r.seconds for r in records) if summary.seconds is None else summary.seconds,
        summary.search_flops,
        min((r.started for r in records), default=0.0),
        max((r.ended for r in records), default=0.0),
        read,
        summary.fetch,
        fetch_history or (lambda record: record.history),
        fetch_subgroups,
        next((r.error for r in reversed(records) if r.error), None),
        cell.dataset.target,
    )


def _search_flops(trials: list[RunRecord]) -> float | None:
    known = [trial.facts for trial in trials if "flops" in trial.facts]
    if not known:
        return None
    features = max(float(facts.get("features_flops", 0.0)) for facts in known)
    return features + sum(float(facts["flops"]) for facts in known)


def _latest(confirmations: list[RunRecord]) -> tuple[list[RunRecord], list[RunRecord]]:
    """Return the latest confirmation of each number, by number, and the others."""
    ordered = sorted(confirmations, key=lambda r: (r.number, r.round))
    latest = {record.number: record for record in ordered}
    return list(latest.values()), [r for r in ordered if r is not latest[r.number]]


def read_predictions(path: Path) -> pa.Table:
    """Read a file of predictions; raises SweepError if it is gone or damaged."""
    try:
        with pq.ParquetFile(path) as file:
            return file.read(use_threads=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise SweepError(f"the predictions in {path} cannot be read: {first_line(error)}") from None
