"""The model card of an exported model (Mitchell et al. 2019)."""

from sweep.backbones.families.base import describe_terms
from sweep.comparison.text import title
from sweep.records.folder import SweepFolder
from sweep.records.record import RunRecord
from sweep.run.winner import Winner
from sweep.space.specs import MULTILABEL
from sweep.train.metrics import all_metrics

_USES = {
    "timm": 'model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()\n'
    "# normalised images (B, 3, S, S) -> logits, whose softmax are the probabilities",
    "onnx": 'session = onnxruntime.InferenceSession("model.onnx")\n'
    '(probabilities,) = session.run(None, {"images": images})  # float32 (B, 3, S, S), from 0 to 1',
    "mlflow": 'model = mlflow.pyfunc.load_model("FOLDER")\n'
    "probabilities = model.predict(images)  # float32 (B, 3, S, S), RGB from 0 to 1",
}


def model_card(folder: SweepFolder, winner: Winner, style: str) -> str:
    """Return the card of a cell's model, as Markdown."""
    cell, model, facts = winner.cell, winner.model, winner.confirmation.facts
    about, counts = model.about, facts.get("samples", {})
    samples = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    version = facts.get("version", "unknown")
    terms = describe_terms(cell.backbone).strip(" ()")
    several = model.target == MULTILABEL
    use = (
        _USES[style].replace("whose softmax are", "whose sigmoids are") if several else _USES[style]
    )
    answers = "each of its labels, or none" if several else "one of its classes"
    parts = [
        f"# {cell.name}",
        f"Tells {', '.join(model.classes)} in images as those of the data set "
        f"{cell.dataset.name}. Made by the sweep {folder.name}, version {version}.",
        f"## Model\n\n{facts.get('model', cell.backbone.model)}, freeze mode {cell.freeze}; "
        f"weights {cell.backbone.weights}{f'; {terms}' if terms else ''}. The licence of the "
        "pre-trained weights holds for this model, too.",
        f"## Data\n\n{cell.dataset.name}: {samples or 'numbers not kept'}. The split is by patient "
        "only where the data set names patients.",
        f"## Metrics\n\n{_metrics(folder, cell.name)}",
        "## Intended use\n\nResearch: to repeat and to extend the comparison that it comes from. "
        f"It is no medical device, and {_tested(winner)}.",
        f"## Limits\n\nIt answers {answers} for any picture, also for one that shows "
        "something else. Its probabilities are calibrated at most on the validation split.",
        f"## Preprocessing\n\n{about['resize']}. image_size {about['image_size']}, interpolation "
        f"{about['interpolation']}, mean {about['mean']}, std {about['std']}.",
        f"## Use\n\n```python\n{use}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _tested(winner: Winner) -> str:
    """Say on whose patients it was tested besides those of the data set."""
    names = ", ".join(winner.confirmation.external)
    if names:
        return f"besides the data set's own patients it was tested on those of {names} alone"
    return "was tested on no patients of another hospital, scanner or time than the data set's"


def _metrics(folder: SweepFolder, name: str) -> str:
    """Return a table of the cell's metrics on the test split, with their intervals."""
    found = [r for r in folder.records() if r.kind == "cell" and r.cell == name]
    if not found:
        return "The sweep is not finished: there are none yet."
    lines = ["| metric | test split, mean over confirmations | 95 % interval |", "|---|---|---|"]
    lines += [line for metric in all_metrics() if (line := _line(found[-1], metric))]
    return "\n".join(lines)


def _line(record: RunRecord, metric: str) -> str | None:
    mean, low, high = (record.test.get(f"{metric}{end}") for end in ("", "_low", "_high"))
    if mean is None:
        return None
    interval = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
    return f"| {title(metric)} | {mean:.3f} | {interval} |"
