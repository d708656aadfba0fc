"""What results are called in MLflow, and how they are read back from there.

Both directions stand here, so that the reader knows what the writer wrote: the names of tags,
params and metrics are a contract. The space lies as ``space.json`` with the run of each cell.
"""

import json
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Run
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_GIT_COMMIT,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
)

from sweep.records.record import RunRecord

CELL = "sweep.cell"
KIND = "sweep.kind"
KEY = "sweep.key"
DESCRIPTION = MLFLOW_RUN_NOTE  # of an experiment or a run
STATE = "sweep.state"
RESULT = "sweep.result"  # of a cell: the objective on the test split, and its interval
ROUND = "sweep.round"
TRIALS = "sweep.trials"
SEARCH_FLOPS = "sweep.search_flops"
PREDICTIONS = "sweep.predictions"
EXTERNAL = "sweep.external"  # of a confirmation: the files of predictions of external test sets
ERROR = "sweep.error"
CONTENT = "sweep.content"  # tag of a complete run: the hash of the record that it shows
SPACE = "sweep.space"  # tag of a cell's run: the hash of its artifact `SPACE_FILE`
PARENT = "mlflow.parentRunId"
SPACE_FILE = "space.json"
PREDICTIONS_FOLDER = "predictions"

_NUMBERS = {
    "threads", "peak_memory_mib", "left_out", "images_per_second", "micro_batch",
    "flops", "epoch_flops", "test_flops", "features_flops", "search_flops", "image_flops",
}  # fmt: skip
_AXES = ("dataset", "backbone", "freeze", "train_fraction")
_SIZES = ("parameters", "learnable")  # facts of a record that are params in MLflow
_PREFIX = "sweep."


def key_of_cell(sweep_id: str, cell: str) -> str:
    """Return the key of a cell's run, below which its trials are."""
    return f"{sweep_id}:{cell}:cell:0"


def sweep_id_of(run: Run) -> str:
    """Return the id of the sweep that a run is of."""
    return str(run.data.tags[KEY]).partition(":")[0]


def content_of(run: Run) -> str | None:
    """Return the content of the record that a run shows; None if the run is not whole."""
    return None if run.info.status == "RUNNING" else run.data.tags.get(CONTENT)


def run_name(record: RunRecord) -> str:
    """Return the name of a record's run."""
    if record.kind == "cell":
        return record.cell
    return f"{record.cell} {record.kind} {record.number}"


def params_of(record: RunRecord) -> dict[str, str]:
    """Return the params of a record's run, as MLflow writes them."""
    axes = {name: getattr(record, name) for name in _AXES}
    sizes = {name: record.facts[name] for name in _SIZES if name in record.facts}
    params: dict[str, Any] = {**axes, **record.params, **sizes}
    return {
        name: repr(value) if isinstance(value, float) else str(value)
        for name, value in params.items()
        if value is not None
    }


def tags_of(record: RunRecord) -> dict[str, str]:
    """Return the tags of a record's run but those that it is found by."""
    params = params_of(record)
    tags = {
        f"{_PREFIX}{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in record.facts.items()
        if name not in params
    }
    tags |= {STATE: record.state, ROUND: str(record.round)}
    if record.kind == "cell" and (result := _result(record)):
        tags[RESULT] = result
        backbone_and_freeze = record.cell.partition("/")[2]
        tags[DESCRIPTION] = f"{record.params['objective']} {result} {backbone_and_freeze}"
    if record.predictions:
        tags[PREDICTIONS] = record.predictions
    if record.external:
        files = {name: found["predictions"] for name, found in record.external.items()}
        tags[EXTERNAL] = json.dumps(files)
    if record.error:
        # Only the error's kind: the rest may name files of the dataset and paths.
        tags[ERROR] = record.error.partition(":")[0][:100]
    return tags


def _result(record: RunRecord) -> str | None:
    """Return a cell's score as it is read at a glance: 0.931 [0.912, 0.949]."""
    name = record.params.get("objective")
    mean, low, high = (record.test.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if mean is None:
        return None
    return f"{mean:.3f}" if low is None or high is None else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def source_tags(record: RunRecord, command: str) -> dict[str, str]:
    """Return what MLflow shows as the source of a run: the command, and the commit of the code."""
    tags = {MLFLOW_SOURCE_NAME: command, MLFLOW_SOURCE_TYPE: "LOCAL"}
    commit = str(record.facts.get("commit", "")).rstrip("+")
    return {**tags, **({MLFLOW_GIT_COMMIT: commit} if commit else {})}


def inputs_of(record: RunRecord) -> list[DatasetInput]:
    """Return the data set of a record's run: name, digest, number of samples; no place."""
    counts, digest = record.facts.get("samples"), record.facts.get("fingerprint")
    if not counts or not digest:  # it failed before its data set was open
        return []
    profile = {"num_rows": sum(counts.values()), **counts}
    shown = Dataset(
        name=record.dataset,
        digest=str(digest),
        source_type="sweep",
        source=json.dumps({"fingerprint": digest}),
        profile=json.dumps(profile),
    )
    return [DatasetInput(shown, [InputTag(MLFLOW_DATASET_CONTEXT, "train, val, test")])]


def metrics_of(record: RunRecord) -> list[Metric]:
    """Return the metrics of each epoch, the test metrics, and what the run cost."""
    length = max(1, len(record.history))
    result = []
    for index, entry in enumerate(record.history):
        share = (index + 1) / length
        stamp = int(1000 * (record.started + (record.ended - record.started) * share))
        result += [
            Metric(name, value, stamp, int(entry["epoch"]))
            for name, value in entry.items()
            if name != "epoch"
        ]
    stamp = int(record.ended * 1000)
    last = int(record.history[-1]["epoch"]) if record.history else 0
    final = {f"test/{name}": value for name, value in record.test.items()}
    for name, found in record.external.items():
        final |= {f"external/{name}/{metric}": value for metric, value in found["test"].items()}
    final["seconds"] = record.seconds
    if record.best:
        final["best/epoch"] = record.best["epoch"]
        if record.kind == "cell":
            final |= {name: value for name, value in record.best.items() if "/" in name}
        else:
            final[f"best/{record.params['objective']}"] = record.best["value"]
    return result + [Metric(name, value, stamp, last) for name, value in final.items()]


def record_of(run: Run) -> RunRecord:
    """Return the record that a run shows, without its epochs."""
    tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
    facts = {
        name.removeprefix(_PREFIX): _fact(name.removeprefix(_PREFIX), value)
        for name, value in tags.items()
        if name.startswith(_PREFIX)
    }
    facts |= {k: int(v) for k, v in params.items() if k in {*_SIZES, "image_size"}}
    best = {}
    objective = f"best/{params.get('objective')}"
    if objective in metrics:
        best = {"epoch": metrics["best/epoch"], "value": metrics[objective]}
    return RunRecord(
        key=tags[KEY],
        sweep="",
        dataset=params["dataset"],
        backbone=params["backbone"],
        freeze=params["freeze"],
        train_fraction=float(params.get("train_fraction", 1.0)),
        kind=tags[KIND],
        state=tags.get(STATE, "failed"),
        number=int(tags[KEY].rpartition(":")[2]),
        params={k: _number(v) for k, v in params.items() if k not in {*_AXES, *_SIZES}},
        best=best,
        test={k.removeprefix("test/"): v for k, v in metrics.items() if k.startswith("test/")},
        external=_external(tags, metrics),
        started=(run.info.start_time or 0) / 1000,
        ended=(run.info.end_time or 0) / 1000,
        seconds=metrics.get("seconds", 0.0),
        facts=facts,
        predictions=tags.get(PREDICTIONS),
        round=int(tags.get(ROUND, 0)),
    )


def _external(tags: dict[str, str], metrics: dict[str, float]) -> dict[str, dict[str, Any]]:
    found = {}
    for name, file in json.loads(tags.get(EXTERNAL, "{}")).items():
        prefix = f"external/{name}/"
        own = {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix)}
        found[name] = {"predictions": file, "test": own}
    return found


def space_in_tags(sweep_id: str, tags: dict[str, str]) -> str | None:
    """Return the space that the tags of an experiment hold in parts, as version 0.1 sent it."""
    parts: list[str] = []
    while (part := tags.get(f"{SPACE}.{sweep_id}.{len(parts)}")) is not None:
        parts.append(part)
    return "".join(parts) or None


def _fact(name: str, value: str) -> Any:
    return json.loads(value) if name in _NUMBERS or value.startswith("{") else value


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
