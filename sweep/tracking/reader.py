"""The results of a sweep from MLflow alone: the machine that ran it may be gone.

The inverse of `sweep.tracking.writer`: runs become records again. Trials are many, so they are only
asked for where a cell's run does not sum them up, and for figures.
"""

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

# It must precede mlflow, as it limits how long MLflow waits.
from sweep.tracking.store import client_of

# isort: split
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from sweep.base.addresses import usable_address
from sweep.errors import SweepError, first_line, nearest
from sweep.records.home import sweep_names
from sweep.records.record import RunRecord
from sweep.records.results import (
    CellResult,
    History,
    SweepResults,
    TrialSummary,
    cell_result,
    read_predictions,
)
from sweep.space.model import Cell, Space
from sweep.tracking.schema import (
    CELL,
    KIND,
    PREDICTIONS_FOLDER,
    SEARCH_FLOPS,
    SPACE,
    SPACE_FILE,
    TRIALS,
    record_of,
    space_in_tags,
    sweep_id_of,
)

_PAGE = 5000


def tracked_results(name: str, uri: str, home: Path) -> SweepResults:
    """Read the results of a sweep from a tracking store; of several of its name, the newest.

    Args:
        home: where sweeps are kept, to name those that are there if the store has none.

    Raises SweepError if the store cannot be read or lacks the sweep.
    """
    _require_file(uri)
    with _answering(uri):
        client = client_of(uri)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            known = [item.name for item in client.search_experiments()] + sweep_names(home)
            raise SweepError(
                f"no sweep {name!r} in MLflow at {uri}, nor under {home}{nearest(name, known)}"
            )
        store = _Store(client, uri, str(experiment.experiment_id))
        runs = store.runs(f"tags.`{KIND}` != 'trial'")
        if not runs:
            raise SweepError(f"the experiment {name!r} in MLflow at {uri} holds no sweep")
        sweep_id = sweep_id_of(max(runs, key=lambda run: run.info.start_time or 0))
        own = [run for run in runs if sweep_id_of(run) == sweep_id]
        text = store.space(own) or space_in_tags(sweep_id, experiment.tags)
        if text is None:
            raise SweepError(
                f"the space of {name!r} is not in MLflow at {uri}, as an older version of sweep "
                "sent it: compare it where it was run"
            )
        space = _space(name, text)
        by_cell: dict[str, list[Run]] = defaultdict(list)
        for run in own:
            by_cell[run.data.tags[CELL]].append(run)
        concluded = [
            run
            for found in by_cell.values()
            for run in found
            if run.data.tags[KIND] == "cell" and run.info.status != "RUNNING"
        ]
        cells = [store.cell(name, cell, sweep_id, by_cell[cell.name]) for cell in space.cells()]
    finished = len(concluded) >= len(cells)
    return SweepResults(name, sweep_id, space, cells, finished, uri)


class _Store:
    """One experiment of a tracking store."""

    def __init__(self, client: MlflowClient, uri: str, experiment: str) -> None:
        self._client, self._uri, self._experiment = client, uri, experiment
        self._run_ids: dict[str, str] = {}
        self._artifacts: dict[str, str] = {}

    def runs(self, condition: str) -> list[Run]:
        """Return the runs of cells that meet a condition."""
        found, token = [], None
        while True:
            page = self._client.search_runs(
                [self._experiment], condition, max_results=_PAGE, page_token=token
            )
            found += [run for run in page if CELL in run.data.tags]
            token = page.token
            if not token:
                return found

    def cell(self, sweep: str, cell: Cell, sweep_id: str, runs: list[Run]) -> CellResult:
        """Return the results of one cell from its run and those of its confirmations."""

        def trials() -> list[RunRecord]:
            with _answering(self._uri):
                found = self.runs(f"tags.`{KIND}` = 'trial' AND tags.`{CELL}` = '{cell.name}'")
                records = [self._record(run) for run in found if sweep_id_of(run) == sweep_id]
            return sorted(records, key=lambda record: record.number)

        own = next((run for run in runs if run.data.tags[KIND] == "cell"), None)
        confirmed = [self._record(run) for run in runs if run.data.tags[KIND] == "confirmation"]
        counts = own.data.tags.get(TRIALS) if own else None
        if own is not None and counts is not None:
            states, seconds = Counter(json.loads(counts)), own.data.metrics.get("seconds")
            total = own.data.tags.get(SEARCH_FLOPS)
            flops = None if total is None else float(total)
        else:  # the sweep was interrupted
            found, flops = trials(), None
            states = Counter(record.state for record in found)
            seconds = sum(record.seconds for record in [*found, *confirmed])
        summary = TrialSummary(states, seconds, flops, trials)
        return cell_result(sweep, cell, confirmed, self._predictions, summary, self._history)

    def _record(self, run: Run) -> RunRecord:
        """Return the record that a run shows, and remember where its artifacts are."""
        record = record_of(run)
        self._run_ids[record.key] = run.info.run_id
        self._artifacts[record.key] = run.info.artifact_uri
        return record

    def space(self, runs: list[Run]) -> str | None:
        """Return the space that lies with the cells' runs, as JSON."""
        own = [run for run in runs if SPACE in run.data.tags]
        if not own:
            return None
        newest = max(own, key=lambda run: run.info.start_time or 0)
        with _answering(self._uri), tempfile.TemporaryDirectory() as folder:
            return self._download(newest.info.artifact_uri, SPACE_FILE, folder).read_text("utf-8")

    def _download(self, artifacts: str, path: str, folder: str) -> Path:
        # MLflow's client asks the server for the run and its models at every file.
        repository = get_artifact_repository(artifacts, usable_address(self._uri))
        return Path(repository.download_artifacts(path, folder))

    def _predictions(self, record: RunRecord, file: str) -> pa.Table:
        path = f"{PREDICTIONS_FOLDER}/{file}"
        with _answering(self._uri), tempfile.TemporaryDirectory() as folder:
            return read_predictions(self._download(self._artifacts[record.key], path, folder))

    def _history(self, record: RunRecord) -> History:
        run_id = self._run_ids[record.key]
        epochs: dict[int, dict[str, float]] = defaultdict(dict)
        with _answering(self._uri):
            for name in ("train/loss", "val/loss", f"val/{record.params['objective']}"):
                for metric in self._client.get_metric_history(run_id, name):
                    epochs[metric.step][name] = metric.value
        return [{"epoch": epoch, **values} for epoch, values in sorted(epochs.items())]


def _space(name: str, text: str) -> Space:
    """Return a space from its JSON; the files that it imports are not in MLflow."""
    try:
        return Space.launched(json.loads(text))
    except ValidationError as error:
        names = ", ".join(json.loads(text).get("imports", []))
        why = f"it imports {names}, which is not in MLflow" if names else error.errors()[0]["msg"]
        raise SweepError(
            f"the space of {name!r} cannot be read: {why}; compare it where it was run"
        ) from None


def _require_file(uri: str) -> None:
    """Raise SweepError for a SQLite file that is not there: MLflow would make an empty one."""
    path = uri.partition("sqlite:///")[2]
    if path and not Path(path).is_file():
        raise SweepError(f"MLflow at {uri} cannot be read: there is no such file")


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    """Turn what a tracking store that cannot be read raises into a SweepError."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise SweepError(f"MLflow at {uri} cannot be read: {first_line(error)}") from None
