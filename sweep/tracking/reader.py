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
from typing import Any

import pyarrow as pa

from sweep.tracking.store import client_of  # before mlflow: it sets how long MLflow waits

# isort: split
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sqlalchemy.exc import SQLAlchemyError

from sweep.base.addresses import usable_address
from sweep.errors import SweepError, nearest
from sweep.records.folder import sweep_names
from sweep.records.record import RunRecord
from sweep.records.results import CellResult, History, SweepResults, cell_result, read_predictions
from sweep.space.model import Cell, Space
from sweep.tracking.schema import space_of

_PAGE = 5000
_NUMBERS = {
    "threads", "peak_memory_mib", "left_out", "images_per_second", "micro_batch",
    "flops", "epoch_flops", "test_flops", "features_flops", "search_flops", "image_flops",
}  # fmt: skip
_AXES = {"dataset", "backbone", "freeze", "train_fraction"}
_SIZES = {"parameters", "learnable"}  # which are facts, but params in MLflow


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
        runs = store.runs("tags.`sweep.kind` != 'trial'")
        if not runs:
            raise SweepError(f"the experiment {name!r} in MLflow at {uri} holds no sweep")
        sweep_id = _id(max(runs, key=lambda run: run.info.start_time or 0))
        text = space_of(sweep_id, experiment.tags)
        if text is None:
            raise SweepError(
                f"the space of {name!r} is not in MLflow at {uri}, as an older version of sweep "
                "sent it: compare it where it was run"
            )
        space = Space.model_validate_json(text)
        by_cell: dict[str, list[Run]] = defaultdict(list)
        for run in runs:
            if _id(run) == sweep_id:
                by_cell[run.data.tags["sweep.cell"]].append(run)
        concluded = [
            run
            for found in by_cell.values()
            for run in found
            if run.data.tags["sweep.kind"] == "cell" and run.info.status != "RUNNING"
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
            found += [run for run in page if "sweep.cell" in run.data.tags]
            token = page.token
            if not token:
                return found

    def cell(self, sweep: str, cell: Cell, sweep_id: str, runs: list[Run]) -> CellResult:
        """Return the results of one cell from its run and those of its confirmations."""

        def trials() -> list[RunRecord]:
            with _answering(self._uri):
                found = self.runs(
                    f"tags.`sweep.kind` = 'trial' AND tags.`sweep.cell` = '{cell.name}'"
                )
                records = [self._record(run) for run in found if _id(run) == sweep_id]
            return sorted(records, key=lambda record: record.number)

        own = next((run for run in runs if run.data.tags["sweep.kind"] == "cell"), None)
        confirmed = [
            self._record(run) for run in runs if run.data.tags["sweep.kind"] == "confirmation"
        ]
        counts = own.data.tags.get("sweep.trials") if own else None
        if own is not None and counts is not None:
            states, seconds = Counter(json.loads(counts)), own.data.metrics.get("seconds")
            told = own.data.tags.get("sweep.search_flops")
            flops = None if told is None else float(told)
        else:  # the sweep was interrupted
            found, flops = trials(), None
            states = Counter(record.state for record in found)
            seconds = sum(record.seconds for record in [*found, *confirmed])
        reading = (self._predictions, states, trials, self._history, seconds, flops)
        return cell_result(sweep, cell, confirmed, *reading)

    def _record(self, run: Run) -> RunRecord:
        """Return the record that `sweep.tracking.writer` made the run of, without its epochs."""
        tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
        key = tags["sweep.key"]
        self._run_ids[key], self._artifacts[key] = run.info.run_id, run.info.artifact_uri
        facts = {
            name.removeprefix("sweep."): _fact(name.removeprefix("sweep."), value)
            for name, value in tags.items()
            if name.startswith("sweep.")
        }
        facts |= {k: int(v) for k, v in params.items() if k in {*_SIZES, "image_size"}}
        best = {}
        objective = f"best/{params.get('objective')}"
        if objective in metrics:
            best = {"epoch": metrics["best/epoch"], "value": metrics[objective]}
        return RunRecord(
            key=key,
            sweep="",
            dataset=params["dataset"],
            backbone=params["backbone"],
            freeze=params["freeze"],
            train_fraction=float(params.get("train_fraction", 1.0)),
            kind=tags["sweep.kind"],
            state=tags.get("sweep.state", "failed"),
            number=int(key.rpartition(":")[2]),
            params={k: _number(v) for k, v in params.items() if k not in _AXES | _SIZES},
            best=best,
            test=_named(metrics, "test/"),
            started=(run.info.start_time or 0) / 1000,
            ended=(run.info.end_time or 0) / 1000,
            seconds=metrics.get("seconds", 0.0),
            facts=facts,
            predictions=tags.get("sweep.predictions"),
            round=int(tags.get("sweep.round", 0)),
        )

    def _predictions(self, record: RunRecord) -> pa.Table:
        # Not the client's download, which asks for the run, and for models, at every file.
        artifacts = get_artifact_repository(self._artifacts[record.key], usable_address(self._uri))
        path = f"predictions/{record.predictions}"
        with _answering(self._uri), tempfile.TemporaryDirectory() as folder:
            return read_predictions(Path(artifacts.download_artifacts(path, folder)))

    def _history(self, record: RunRecord) -> History:
        run_id = self._run_ids[record.key]
        epochs: dict[int, dict[str, float]] = defaultdict(dict)
        with _answering(self._uri):
            for name in ("train/loss", "val/loss", f"val/{record.params['objective']}"):
                for metric in self._client.get_metric_history(run_id, name):
                    epochs[metric.step][name] = metric.value
        return [{"epoch": epoch, **values} for epoch, values in sorted(epochs.items())]


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
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SweepError(f"MLflow at {uri} cannot be read: {first_line}") from None


def _id(run: Run) -> str:
    return str(run.data.tags["sweep.key"]).partition(":")[0]


def _fact(name: str, value: str) -> Any:
    return json.loads(value) if name in _NUMBERS or value.startswith("{") else value


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _named(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    return {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix)}
