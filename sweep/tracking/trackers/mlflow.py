"""MLflow: a projection of the results, one run for each, sent in batches.

Sending again makes no duplicates, as runs are found by their key.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

# It must precede mlflow, as it limits how long MLflow waits.
from sweep.tracking.store import advice, client_of, make_database

# isort: split
from mlflow.entities import Param, Run, RunTag

from sweep.records.folder import SweepFolder
from sweep.records.record import RunRecord
from sweep.space.registries import TRACKERS
from sweep.tracking.experiment import describe_experiment, prepare_experiment
from sweep.tracking.runs import OF_NO_RECORD, runs_of
from sweep.tracking.schema import (
    CELL,
    CONTENT,
    DESCRIPTION,
    KEY,
    KIND,
    PARENT,
    PREDICTIONS_FOLDER,
    RESULT,
    SPACE,
    SPACE_FILE,
    content_of,
    inputs_of,
    key_of_cell,
    metrics_of,
    params_of,
    run_name,
    source_tags,
    tags_of,
)
from sweep.tracking.trackers.base import Tracker

_A_BATCH = 1000  # metrics, params and tags that MLflow accepts at once

log = logging.getLogger("sweep.tracking")


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


class MLflowTracker(Tracker):
    """Knows which runs MLflow has already."""

    def __init__(self, folder: SweepFolder, uri: str) -> None:
        super().__init__(folder, uri)
        make_database(uri)
        self._client = client_of(uri)
        self._experiment = self._experiment_id(folder.name)
        prepare_experiment(self._client, self._experiment, folder.space().objective)
        settings = folder.settings()
        self._sweep_id, self._command = settings.id, settings.command
        self._runs: dict[str, _Sent] = {}
        self._list_runs()

    @classmethod
    def advice(cls, uri: str, text: str) -> str | None:
        """Return what to do where a store says that it will take nothing from us, else None."""
        return advice(uri, text)

    def send(self, record: RunRecord) -> None:
        """Make the run of a result, whole; one that shows another result is replaced."""
        known = self._runs.get(record.key)
        if known and known.content == record.content:
            return
        if record.kind == "cell":
            run_id = self._new_parent(record)
        else:
            if known:  # an earlier sender died before the end, or the run was repeated
                self._client.delete_run(known.run_id)
            run_id = self._create(record, record.key, run_name(record), self._parent(record))
        self._log(run_id, record)
        status = "FAILED" if record.state == "failed" else "FINISHED"
        self._client.set_terminated(run_id, status, end_time=int(record.ended * 1000))
        # The last write: it marks the run as complete.
        self._client.set_tag(run_id, CONTENT, record.content)
        self._runs[record.key] = _Sent(run_id, record.content, False)

    def describe(self, answer: str) -> None:
        """Let the experiment's description say what the sweep has found."""
        describe_experiment(self._client, self._experiment, self._sweep_id, answer)

    def delete_strays(self) -> None:
        """Delete the runs that have no record."""
        for key, sent in list(self._runs.items()):
            if not key.endswith(OF_NO_RECORD) and not self.folder.has_record(key):
                self._client.delete_run(sent.run_id)
                del self._runs[key]

    def _experiment_id(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return str(self._client.create_experiment(name))
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _list_runs(self) -> None:
        """Take note of the sweep's runs; of several with one key a whole one is kept."""
        found = runs_of(self._client, self._experiment, self._sweep_id)
        # Complete runs come first.
        for run in sorted(found, key=lambda run: content_of(run) is None):
            sent = _Sent(run.info.run_id, content_of(run), not run.data.params)
            kept = self._runs.setdefault(run.data.tags[KEY], sent)
            if kept is not sent:
                children = [r for r in found if r.data.tags.get(PARENT) == run.info.run_id]
                self._move([child.info.run_id for child in children], kept.run_id)
                self._client.delete_run(run.info.run_id)
            elif run.data.tags[KIND] == "cell":
                self._renew_space(run)

    def _renew_space(self, run: Run) -> None:
        """Put the space with a cell's run again if it was raised since."""
        if run.data.tags.get(SPACE) != _hash(self._space):
            self._log_space(run.info.run_id)

    @cached_property
    def _space(self) -> str:
        return self.folder.space().without_places().model_dump_json()

    def _log_space(self, run_id: str) -> None:
        """Keep the space with a cell, so that results can be read from MLflow alone."""
        self._client.log_text(run_id, self._space, SPACE_FILE)
        self._client.set_tag(run_id, SPACE, _hash(self._space))

    def _move(self, run_ids: Iterable[str], parent: str) -> None:
        for run_id in run_ids:
            self._client.set_tag(run_id, PARENT, parent)

    def _parent(self, record: RunRecord) -> str:
        key = key_of_cell(self._sweep_id, record.cell)
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
        said = self._client.get_run(old.run_id).data.tags
        if DESCRIPTION in said and said.get(RESULT, "") not in said[DESCRIPTION]:
            self._client.set_tag(new, DESCRIPTION, said[DESCRIPTION])  # written by hand
        self._client.delete_run(old.run_id)
        return new

    def _create(self, record: RunRecord, key: str, name: str, parent: str | None) -> str:
        tags = {CELL: record.cell, KIND: record.kind if parent else "cell", KEY: key}
        if parent:
            tags[PARENT] = parent
        run = self._client.create_run(
            self._experiment, start_time=int(record.started * 1000), tags=tags, run_name=name
        )
        run_id = str(run.info.run_id)
        if not parent:
            self._log_space(run_id)
        return run_id

    def _log(self, run_id: str, record: RunRecord) -> None:
        files = [found["predictions"] for found in record.external.values()]
        for name in [record.predictions, *files] if record.predictions else ():
            path = self.folder.path / "predictions" / str(name)
            if path.is_file():
                self._client.log_artifact(run_id, str(path), PREDICTIONS_FOLDER)
        written = {**tags_of(record), **source_tags(record, self._command)}
        if DESCRIPTION in written and DESCRIPTION in self._client.get_run(run_id).data.tags:
            del written[DESCRIPTION]  # somebody has written another one by hand
        params = [Param(name, text) for name, text in params_of(record).items()]
        tags = [RunTag(name, text) for name, text in written.items()]
        metrics, first = metrics_of(record), _A_BATCH - len(params) - len(tags)
        self._client.log_batch(run_id, metrics[:first], params, tags)
        for start in range(first, len(metrics), _A_BATCH):
            self._client.log_batch(run_id, metrics[start : start + _A_BATCH])
        if inputs := inputs_of(record):
            self._client.log_inputs(run_id, datasets=inputs)
        if record.kind == "cell" and record.model:
            model = self.folder.path / "models" / record.model
            if model.is_dir():
                self._client.log_artifacts(run_id, str(model), "model")


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


TRACKERS.register("mlflow", MLflowTracker)
