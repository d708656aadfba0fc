"""What the record of a run is called in MLflow: params, metrics, tags, and the space in parts."""

import json
from typing import Any

from mlflow.entities import Metric

from sweep.records.record import RunRecord

_TAG_LENGTH = 4000  # of an experiment; MLflow takes 5,000


def space_tags(sweep_id: str, text: str) -> dict[str, str]:
    """Return the experiment tags that hold a sweep's space: parts, as tags are of limited length.

    `space_of` puts them together again.
    """
    parts = [text[start : start + _TAG_LENGTH] for start in range(0, len(text), _TAG_LENGTH)]
    return {f"sweep.space.{sweep_id}.{place}": part for place, part in enumerate(parts)}


def space_of(sweep_id: str, tags: dict[str, str]) -> str | None:
    """Return the space that an experiment's tags hold for a sweep, or None."""
    parts: list[str] = []
    while (part := tags.get(f"sweep.space.{sweep_id}.{len(parts)}")) is not None:
        parts.append(part)
    return "".join(parts) or None


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
    final["seconds"] = record.seconds
    if record.best:
        final["best/epoch"] = record.best["epoch"]
        if record.kind == "cell":
            final |= {name: value for name, value in record.best.items() if "/" in name}
        else:
            final[f"best/{record.params['objective']}"] = record.best["value"]
    return result + [Metric(name, value, stamp, last) for name, value in final.items()]


def params_of(record: RunRecord) -> dict[str, str]:
    """Return the params of a record's run, as MLflow writes them."""
    axes = {
        "dataset": record.dataset,
        "backbone": record.backbone,
        "freeze": record.freeze,
        "train_fraction": record.train_fraction,
    }
    sizes: dict[str, Any] = {
        k: record.facts[k] for k in ("parameters", "learnable") if k in record.facts
    }
    params: dict[str, Any] = {**axes, **record.params, **sizes}
    return {name: _text(value) for name, value in params.items() if value is not None}


def run_name(record: RunRecord) -> str:
    """Return the name of a trial's or a confirmation's run."""
    return f"{record.cell} {record.kind} {record.number}"


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def as_tag(value: Any) -> str:
    """Return a fact as MLflow writes tags: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
