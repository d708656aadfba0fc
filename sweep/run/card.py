"""The model card of an exported model (Mitchell et al. 2019)."""

from collections.abc import Mapping
from typing import Any

from sweep.backbones.families.base import describe_terms
from sweep.comparison.text import title
from sweep.records.folder import SweepFolder
from sweep.records.record import RunRecord
from sweep.run.example import example
from sweep.run.winner import Winner
from sweep.space.specs import MULTILABEL
from sweep.train.kept import KeptModel
from sweep.train.metrics import all_metrics


def model_card(folder: SweepFolder, winner: Winner, style: str) -> str:
    """Return the card of a cell's model, as Markdown."""
    cell, model, facts = winner.cell, winner.model, winner.confirmation.facts
    version = facts.get("version", "unknown")
    terms = describe_terms(cell.backbone).strip(" ()")
    answers = "each of its labels, or none" if model.target == MULTILABEL else "one of its classes"
    parts = [
        f"# {cell.name}",
        f"Tells {', '.join(model.classes)} in images as those of the data set "
        f"{cell.dataset.name}. Made by the sweep {folder.name}, version {version}.",
        f"## Model\n\n{facts.get('model', cell.backbone.model)}, freeze mode {cell.freeze}; "
        f"weights {cell.backbone.weights}{f'; {terms}' if terms else ''}. The licence of the "
        "pre-trained weights holds for this model, too.",
        f"## Data\n\n{cell.dataset.name}: {_samples(facts)}",
        f"## Metrics\n\n{_metrics(folder, cell.name)}",
        "## Intended use\n\nResearch: to repeat and to extend the comparison that it comes from. "
        f"It is no medical device, and {_tested(winner)}.",
        f"## Limits\n\nIt answers {answers} for any picture, also for one that shows "
        "something else. Its probabilities are calibrated at most on the validation split.",
        f"## Preprocessing\n\n{_preprocessing(model, style)}",
        f"## Use\n\nIn this folder:\n\n```python\n{example(model, style)}```",
    ]
    return "\n\n".join(parts) + "\n"


def _samples(facts: Mapping[str, Any]) -> str:
    """Say how many samples each split has, and whether patients are kept together."""
    samples, groups = facts.get("samples", {}), facts.get("groups", {})
    if not samples:
        return "numbers not kept."
    if groups in ({}, samples):
        numbers = [f"{split} {count:,}" for split, count in samples.items()]
        more = "No patient is known to have several of them."
    else:
        numbers = [
            f"{split} {count:,} of {groups[split]:,} groups" for split, count in samples.items()
        ]
        more = "No group (patient) is in two of the splits."
    return f"{', '.join(numbers)}. {more}"


def _preprocessing(model: KeptModel, style: str) -> str:
    chosen, side = model.preprocessing, model.image_size
    part = "The whole picture" if chosen.crop is None else f"The centre (crop_pct {chosen.crop:g})"
    standardised = (
        f"less mean {list(chosen.mean)} and divided by std {list(chosen.std)}"
        if style == "timm"
        else "which the model itself standardises: it takes them from 0 to 1"
    )
    return (
        f"{part} at {side} x {side} pixels, resized by {chosen.interpolation} interpolation; RGB "
        f"from 0 to 1, {standardised}. The program below does it for pictures of 8 bits. DICOM "
        "files, volumes and pictures of more bits have to be read as in training: 'sweep predict' "
        "does it."
    )


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
