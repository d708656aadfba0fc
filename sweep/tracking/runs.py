"""The runs of a sweep in MLflow: finding them, and whether they say what its records say."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from sweep.tracking.store import client_of, is_missing_file, trouble

# isort: split
from mlflow import MlflowClient
from mlflow.entities import Run

from sweep.base.addresses import without_password
from sweep.errors import first_line
from sweep.records.record import RunRecord
from sweep.tracking.experiment import describe_experiment, report_key
from sweep.tracking.schema import KEY, KIND, content_of, run_name

# Suffixes of keys of runs without a record: a report, a cell that is not concluded.
OF_NO_RECORD = (":comparison", ":cell:0")


def runs_of(client: MlflowClient, experiment: str, sweep_id: str) -> list[Run]:
    """Return all runs of a sweep in an experiment."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment], f"tags.`{KEY}` LIKE '{sweep_id}:%'", max_results=1000, page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def log_report(
    sweep: str, sweep_id: str, uri: str, report: Path, answer: str | None = None
) -> str | None:
    """Keep a report with a sweep's runs, where MLflow's interface shows it; the newest is kept.

    Args:
        report: a file called `REPORT`.
        answer: what the experiment's description says, as Markdown.

    Returns why that was not possible, or None.
    """
    if is_missing_file(uri):
        return "there is no such file"
    key = report_key(sweep_id)
    try:
        client = client_of(uri)
        experiment = client.get_experiment_by_name(sweep)
        if experiment is None:
            return f"there is no experiment {sweep}"
        found = client.search_runs([experiment.experiment_id], f"tags.`{KEY}` = '{key}'")
        tags = {KIND: "comparison", KEY: key}
        run = (
            found[0]
            if found
            else client.create_run(experiment.experiment_id, tags=tags, run_name="comparison")
        )
        client.log_artifact(run.info.run_id, str(report))
        client.set_terminated(run.info.run_id)
        if answer:
            describe_experiment(client, experiment.experiment_id, sweep_id, answer)
    except Exception as error:  # the server or the network may fail in many ways
        return f"{type(error).__name__}: {first_line(error)}"
    return None


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
    found = runs_of(client, experiment.experiment_id, sweep_id) if experiment else []
    of_key: dict[str, list[Run]] = defaultdict(list)
    for run in found:
        of_key[run.data.tags[KEY]].append(run)
    for record in records:
        there = of_key.pop(record.key, [])
        name = run_name(record)
        if not there:
            yield f"{name}: MLflow has no run of it"
        elif len(there) > 1:
            yield f"{name}: MLflow has {len(there)} runs of it"
        elif content_of(there[0]) != record.content:
            yield f"{name}: MLflow shows another result than its record"
    for key in of_key:
        if not key.endswith(OF_NO_RECORD):
            yield f"{key.partition(':')[2]}: MLflow has a run of it, and there is no record"
