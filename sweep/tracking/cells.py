"""The runs of a sweep's cells in MLflow, and what is kept with them besides their results."""

from dataclasses import dataclass

# It must precede mlflow, as it limits how long MLflow waits.
from sweep.tracking.store import client_of, is_missing_file

# isort: split
from sweep.errors import SweepError
from sweep.tracking.runs import runs_of
from sweep.tracking.schema import CELL, CONTENT, KIND

_FOLDER = "figures"


@dataclass(frozen=True)
class CellRun:
    """The run of a cell.

    Attributes:
        content: the hash of the record that it shows.
    """

    uri: str
    run_id: str
    content: str
    tags: dict[str, str]


def cell_runs(sweep: str, sweep_id: str, uri: str) -> dict[str, CellRun]:
    """Return the runs of a sweep's cells that are whole, by the cells' names.

    Raises:
        SweepError: MLflow holds no such sweep.
        MlflowException: it does not answer.
    """
    client = client_of(uri)
    experiment = None if is_missing_file(uri) else client.get_experiment_by_name(sweep)
    if experiment is None:
        raise SweepError(f"MLflow has no experiment {sweep}")
    found = runs_of(client, experiment.experiment_id, sweep_id)
    return {
        run.data.tags[CELL]: CellRun(
            uri, run.info.run_id, run.data.tags[CONTENT], dict(run.data.tags)
        )
        for run in found
        if run.data.tags.get(KIND) == "cell" and CONTENT in run.data.tags
    }


def log_figures(run: CellRun, figures: dict[str, str]) -> None:
    """Keep figures, SVG by the names of their files, with a run."""
    for name, svg in figures.items():
        client_of(run.uri).log_text(run.run_id, svg, f"{_FOLDER}/{name}")


def note(run: CellRun, tag: str, value: str) -> None:
    """Set a tag of a run."""
    client_of(run.uri).set_tag(run.run_id, tag, value)
