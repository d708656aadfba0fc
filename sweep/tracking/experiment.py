"""How a sweep's experiment opens in MLflow's web interface: its kind, description and saved view.

MLflow has no public interface for saved views: the tag below is what its interface (3.17) writes
when a view is saved by hand. An interface that does not know it shows its own columns.
"""

import json

# It must precede mlflow, as it limits how long MLflow waits.
from sweep.tracking.store import client_of

# isort: split
from mlflow import MlflowClient

from sweep.tracking.schema import DESCRIPTION, KEY, KIND, STATE

REPORT = "report.html"
_KIND = "mlflow.experimentKind"
_TRAINING = "custom_model_development"  # what the interface calls Model training
_FIRST_WORDS = "[A line for each cell]"  # of a description of ours
_LONGEST = 5000  # characters of a tag, on servers of any version
_VIEW = "cells"
_VIEWS = "mlflow.sharedViewState."


def prepare_experiment(client: MlflowClient, experiment: str, objective: str) -> None:
    """Set the kind of an experiment, and save the view that has a line for each cell."""
    wanted = {_KIND: _TRAINING, f"{_VIEWS}{_VIEW}": _cells_view(objective)}
    there = client.get_experiment(experiment).tags
    for name, value in wanted.items():
        if there.get(name) != value:
            client.set_experiment_tag(experiment, name, value)


def describe_experiment(client: MlflowClient, experiment: str, sweep_id: str, answer: str) -> None:
    """Let the description of an experiment say what a sweep has found, and where to look.

    One that somebody has written by hand is left.

    Args:
        answer: the sentences of its comparison, as Markdown.
    """
    links = f"{_FIRST_WORDS}({page_of(experiment)})"
    found = client.search_runs([experiment], f"tags.`{KEY}` = '{report_key(sweep_id)}'")
    if found:
        links += f" · [report]({_page_of_report(experiment, found[0].info.run_id)})"
    text = _shortened(f"{links}\n\n{answer}")
    there = client.get_experiment(experiment).tags.get(DESCRIPTION, "")
    if there != text and (not there or there.startswith(_FIRST_WORDS)):
        client.set_experiment_tag(experiment, DESCRIPTION, text)


def _shortened(text: str) -> str:
    """Leave the last lines of a text out, if it is longer than a tag may be."""
    more = "\n\n... the rest is in the report"
    if len(text) <= _LONGEST:
        return text
    lines = text[: _LONGEST - len(more)].splitlines()
    return "\n".join(lines[:-1]) + more


def pages(uri: str) -> dict[str, str]:
    """Return the page of each sweep of a tracking store, below the address of the interface."""
    experiments = client_of(uri).search_experiments(order_by=["last_update_time DESC"])
    own = [item for item in experiments if f"{_VIEWS}{_VIEW}" in item.tags]
    return {item.name: page_of(item.experiment_id) for item in own}


def page_of(experiment: str) -> str:
    """Return the page of an experiment that has a line for each cell."""
    # Without the type of work MLflow (3.17) opens its pages about language models.
    work = "workflowType=machine_learning"
    return f"#/experiments/{experiment}/runs?{work}&viewStateShareKey={_VIEW}"


def report_key(sweep_id: str) -> str:
    """Return the key of the run that keeps a sweep's report."""
    return f"{sweep_id}:comparison"


def _page_of_report(experiment: str, run_id: str) -> str:
    return f"#/experiments/{experiment}/runs/{run_id}/artifacts/{REPORT}"


def _cells_view(objective: str) -> str:
    # The name of a run begins with its data set, and is always shown.
    # Columns of tags are too narrow for an interval, so that the description shows it.
    columns = ["attributes.`Description`"]
    columns += [f"params.`{name}`" for name in ("backbone", "freeze", "learning_rate")]
    columns += [f"tags.`{STATE}`"]
    state = {
        "searchFilter": f"tags.`{KIND}` = 'cell'",
        "orderByKey": f"metrics.`test/{objective}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
    }
    return json.dumps({"name": "Cells", "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})
