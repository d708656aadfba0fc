"""MLflow: a projection of the results, sent in batches off the training path.

Every result waits in the sweep's spool until it was sent. An outage of the server delays that
and nothing else; sending again makes no duplicates, as runs are found by their key.
"""

import logging
import secrets
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Before mlflow: it sets how long MLflow waits.
from sweep.tracking.store import advice, client_of, is_missing_file, make_database, trouble

# isort: split
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Param, Run, RunTag

from sweep.base.addresses import without_password
from sweep.errors import DamagedError
from sweep.records.folder import SweepFolder
from sweep.records.record import RunRecord
from sweep.tracking.schema import as_tag, metrics_of, params_of, run_name, space_tags

_PAUSE_S = 1.0
_METRICS_A_BATCH = 900  # MLflow takes 1,000 at once
_CONTENT = "sweep.content"  # tag of a run that is whole: the hash of the record it shows
_OF_NO_RECORD = (":comparison", ":cell:0")  # ends of keys: a report, a cell that is not concluded
_PARENT = "mlflow.parentRunId"
_LOCK_TIMEOUT_S = 60.0

log = logging.getLogger("sweep.tracking")


class Tracker:
    """Sends the results of one sweep to MLflow, from a thread of its own.

    Use as a context manager: on leaving, what is left is sent, or stays in the spool.

    Attributes:
        error: why the last attempt failed; None while the server answers.
    """

    def __init__(self, folder: SweepFolder, uri: str) -> None:
        self.error: str | None = None
        self.folder = folder
        self._uri = uri
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._sender: _Sender | None = None
        self._lock = FileLock(folder.path / "sync.lock", timeout=_LOCK_TIMEOUT_S)
        self._token = secrets.token_hex(8)

    def __enter__(self) -> "Tracker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def waiting(self) -> int:
        """Return how many results have not been sent yet."""
        return sum(1 for _ in (self.folder.path / "spool").glob("*"))

    def send_all(self) -> None:
        """Try to send everything that waits; keeps the reason in `error` if that fails.

        One process at a time sends: two would make runs twice.
        """
        self.error = None
        try:
            with self._lock:
                self._forget_runs_if_another_sent()
                self._send_waiting()
        except Timeout:
            self.error = "another process is sending results of this sweep"
        except Exception as error:  # whatever the server or the network does
            first_line = str(error).splitlines()[0] if str(error) else ""
            how = advice(self._uri, first_line)
            text = f"{type(error).__name__}: {first_line}{f'; {how}' if how else ''}"
            self.error = without_password(text)
            self._sender = None

    def delete_strays(self) -> None:
        """Delete runs of the sweep in MLflow that have no record, as their trials were lost.

        For the end of a sweep, when every run has its record.
        """
        try:
            with self._lock:
                if self._sender is not None:
                    self._sender.delete_strays()
        except Exception as error:  # whatever the server or the network does
            log.warning("MLflow may show runs that have no record: %s", error)

    def _send_waiting(self) -> None:
        for marker, marked in self._markers():
            try:
                record = self.folder.record_of(marker.name)
            except DamagedError as error:  # made anew when the sweep is resumed
                log.warning("%s", error)
                continue
            if record is not None:
                if self._sender is None:
                    self._sender = _Sender(self.folder, self._uri)
                self._sender.send(record)
            with suppress(FileNotFoundError):
                if marker.stat().st_mtime_ns == marked:  # else it was written again meanwhile
                    marker.unlink()

    def _markers(self) -> list[tuple[Path, int]]:
        """Return what waits, the oldest first, and when each was marked."""
        found = []
        for marker in (self.folder.path / "spool").glob("*"):
            with suppress(FileNotFoundError):
                found.append((marker, marker.stat().st_mtime_ns))
        return sorted(found, key=lambda item: (item[1], item[0].name))

    def _forget_runs_if_another_sent(self) -> None:
        """What MLflow has is listed once, unless another process has sent since."""
        path = self.folder.path / "sync.owner"
        if not path.is_file() or path.read_text() != self._token:
            self._sender = None
            path.write_text(self._token)

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_S if self.error is None else 10 * _PAUSE_S):
            self.send_all()
        self.send_all()


def log_report(sweep: str, sweep_id: str, uri: str, report: Path) -> str | None:
    """Keep a report with a sweep's runs, where MLflow's interface shows it; the newest is kept.

    Returns why that was not possible, or None.
    """
    if is_missing_file(uri):
        return "there is no such file"
    key = f"{sweep_id}:comparison"
    try:
        client = client_of(uri)
        experiment = client.get_experiment_by_name(sweep)
        if experiment is None:
            return f"there is no experiment {sweep}"
        found = client.search_runs([experiment.experiment_id], f"tags.`sweep.key` = '{key}'")
        tags = {"sweep.kind": "comparison", "sweep.key": key}
        run = (
            found[0]
            if found
            else client.create_run(experiment.experiment_id, tags=tags, run_name="comparison")
        )
        client.log_artifact(run.info.run_id, str(report))
        client.set_terminated(run.info.run_id)
    except Exception as error:  # whatever the server or the network does
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return None


@dataclass(frozen=True)
class _Sent:
    """A run that MLflow has: its id, and the content of the record that it was made from.

    Attributes:
        content: None as long as the run is not whole.
        blank: nothing was written to it yet.
    """

    run_id: str
    content: str | None
    blank: bool


class _Sender:
    """Knows which runs MLflow has already."""

    def __init__(self, folder: SweepFolder, uri: str) -> None:
        self._folder = folder
        make_database(uri)
        self._client = client_of(uri)
        self._experiment = self._experiment_id(folder.name)
        self._sweep_id = folder.settings().id
        self._tell_space()
        self._runs: dict[str, _Sent] = {}
        self._list_runs()

    def send(self, record: RunRecord) -> None:
        """Make the run of a result, whole; one that shows another result is replaced."""
        known = self._runs.get(record.key)
        if known and known.content == record.content:
            return
        if record.kind == "cell":
            run_id = self._new_parent(record)
        else:
            if known:  # its sender died half-way, or it was run again
                self._client.delete_run(known.run_id)
            parent = self._parent(record)
            run_id = self._create(record, record.key, run_name(record), parent)
        self._log(run_id, record)
        status = "FAILED" if record.state == "failed" else "FINISHED"
        self._client.set_terminated(run_id, status, end_time=int(record.ended * 1000))
        self._client.set_tag(run_id, _CONTENT, record.content)  # last: now it is whole
        self._runs[record.key] = _Sent(run_id, record.content, False)

    def delete_strays(self) -> None:
        """Delete the runs that have no record."""
        for key, sent in list(self._runs.items()):
            if not key.endswith(_OF_NO_RECORD) and not self._folder.has_record(key):
                self._client.delete_run(sent.run_id)
                del self._runs[key]

    def _experiment_id(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return str(self._client.create_experiment(name))
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _tell_space(self) -> None:
        """Keep the space with the experiment, so that results can be read from MLflow alone."""
        text = self._folder.space().without_places().model_dump_json()
        for name, part in space_tags(self._sweep_id, text).items():
            self._client.set_experiment_tag(self._experiment, name, part)

    def _list_runs(self) -> None:
        """Take note of the sweep's runs; of several with one key a whole one is kept."""
        found = _runs_of(self._client, self._experiment, self._sweep_id)
        for run in sorted(found, key=lambda run: _content(run) is None):  # whole ones first
            key = run.data.tags["sweep.key"]
            sent = _Sent(run.info.run_id, _content(run), not run.data.params)
            kept = self._runs.setdefault(key, sent)
            if kept is not sent:
                children = [r for r in found if r.data.tags.get(_PARENT) == run.info.run_id]
                self._move([child.info.run_id for child in children], kept.run_id)
                self._client.delete_run(run.info.run_id)

    def _move(self, run_ids: Iterable[str], parent: str) -> None:
        for run_id in run_ids:
            self._client.set_tag(run_id, _PARENT, parent)

    def _parent(self, record: RunRecord) -> str:
        key = f"{self._sweep_id}:{record.cell}:cell:0"
        if key not in self._runs:
            self._runs[key] = _Sent(self._create(record, key, record.cell, None), None, True)
        return self._runs[key].run_id

    def _new_parent(self, record: RunRecord) -> str:
        """Return the run of a cell: the one that its trials are below, if nothing is in it yet.

        MLflow's params are written once: else it is a new one, and trials are moved below it.
        """
        old = self._runs.get(record.key)
        if old is None or old.blank:
            return self._parent(record)
        new = self._create(record, record.key, record.cell, None)
        of_cell = f"{self._sweep_id}:{record.cell}:"
        own = [s for key, s in self._runs.items() if key.startswith(of_cell) and s is not old]
        self._move((sent.run_id for sent in own), new)
        self._client.delete_run(old.run_id)
        return new

    def _create(self, record: RunRecord, key: str, name: str, parent: str | None) -> str:
        tags = {
            "sweep.cell": record.cell,
            "sweep.kind": record.kind if parent else "cell",
            "sweep.key": key,
        }
        if parent:
            tags[_PARENT] = parent
        run = self._client.create_run(
            self._experiment, start_time=int(record.started * 1000), tags=tags, run_name=name
        )
        return str(run.info.run_id)

    def _log(self, run_id: str, record: RunRecord) -> None:
        params = params_of(record)
        facts = {f"sweep.{k}": as_tag(v) for k, v in record.facts.items() if k not in params}
        tags = {"sweep.state": record.state, "sweep.round": str(record.round), **facts}
        if record.predictions:
            self._log_predictions(run_id, record.predictions)
            tags["sweep.predictions"] = record.predictions
        if record.error:
            # Its kind alone: the rest may name files of the data set, and paths.
            tags["sweep.error"] = record.error.partition(":")[0][:100]
        self._client.log_batch(
            run_id,
            params=[Param(name, text) for name, text in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        metrics = metrics_of(record)
        for start in range(0, len(metrics), _METRICS_A_BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + _METRICS_A_BATCH])
        if record.kind == "cell" and record.model:
            model = self._folder.path / "models" / record.model
            if model.is_dir():
                self._client.log_artifacts(run_id, str(model), "model")

    def _log_predictions(self, run_id: str, name: str) -> None:
        path = self._folder.path / "predictions" / name
        if path.is_file():
            self._client.log_artifact(run_id, str(path), "predictions")


def disagreements(sweep: str, sweep_id: str, uri: str, records: list[RunRecord]) -> Iterator[str]:
    """Yield what the records of a sweep and its runs in MLflow do not say alike."""
    reason = trouble(uri)
    if reason:
        yield f"MLflow at {without_password(uri)} cannot be asked: {reason}"
        return
    if is_missing_file(uri):
        yield f"MLflow at {uri} holds nothing: there is no such file"
        return
    client = client_of(uri)
    experiment = client.get_experiment_by_name(sweep)
    found = _runs_of(client, experiment.experiment_id, sweep_id) if experiment else []
    of_key: dict[str, list[Run]] = defaultdict(list)
    for run in found:
        of_key[run.data.tags["sweep.key"]].append(run)
    for record in records:
        there = of_key.pop(record.key, [])
        name = record.cell if record.kind == "cell" else run_name(record)
        if not there:
            yield f"{name}: MLflow has no run of it"
        elif len(there) > 1:
            yield f"{name}: MLflow has {len(there)} runs of it"
        elif _content(there[0]) != record.content:
            yield f"{name}: MLflow shows another result than its record"
    for key in of_key:
        if not key.endswith(_OF_NO_RECORD):
            yield f"{key.partition(':')[2]}: MLflow has a run of it, and there is no record"


def _runs_of(client: MlflowClient, experiment: str, sweep_id: str) -> list[Run]:
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment], f"tags.`sweep.key` LIKE '{sweep_id}:%'", max_results=1000,
            page_token=token,
        )  # fmt: skip
        found += page
        token = page.token
        if not token:
            return found


def _content(run: Run) -> str | None:
    """Return the content of the record that a run shows; None if the run is not whole."""
    return None if run.info.status == "RUNNING" else run.data.tags.get(_CONTENT)
