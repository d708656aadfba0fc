"""`sweep data check`: the check's findings as a table or JSON, and what the leaks are worth."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sweep.backbones.backbone import input_size, load_backbone
from sweep.backbones.families.base import fetch_weights
from sweep.data.dataset import store_plan
from sweep.data.manifest import SPLITS
from sweep.data.quality.checks import DataCheck
from sweep.data.quality.leaks import find_leaks
from sweep.data.store.image_store import open_store
from sweep.errors import DataError, SweepError
from sweep.space.backbone import BackboneSpec
from sweep.space.specs import DatasetSpec
from sweep.train.features import open_features
from sweep.train.metrics import pool, score

_SHOWN = 5  # the terminal shows this many items of a finding


@dataclass(frozen=True)
class Impact:
    """Test scores of one quick probe, trained with and without the samples that leak.

    Attributes:
        backbone, image_size: whose frozen features a logistic regression was fitted on.
        removed, training: how many samples leak from the test split, of how many.
        with_leaks, without_leaks: metric -> score on the test split.
    """

    backbone: str
    image_size: int
    removed: int
    training: int
    with_leaks: dict[str, float]
    without_leaks: dict[str, float]


def measure_impact(
    spec: DatasetSpec,
    data_check: DataCheck,
    backbone_spec: BackboneSpec,
    image_size: int,
    data_root: Path,
    weights_dir: Path | None,
    cache: Path,
) -> Impact:
    """Fit a logistic regression on frozen features with and without the leaks.

    All that is not test is trained on, as nothing is chosen.

    Raises SweepError if the backbone or its weights cannot be had.
    """
    size = input_size(backbone_spec, image_size)
    backbone = load_backbone(backbone_spec, size, weights_dir)
    interpolation = backbone.preprocessing.interpolation
    manifest = data_check.manifest
    crop = backbone.preprocessing.crop
    plan = store_plan(spec, manifest, size, interpolation, data_root, crop)
    store = open_store(cache / "stores", plan)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    features = open_features(backbone, store, cache, device)
    test = manifest.splits == "test"
    merged = manifest.resplit(np.where(test, "test", "train"))
    readable = np.ones(len(manifest), dtype=bool)
    readable[list(store.unreadable)] = False
    leaking = find_leaks(merged, data_check.near_duplicates).all
    train = np.flatnonzero(~test & readable)
    clean = np.flatnonzero(~test & readable & ~leaking)
    held_out = np.flatnonzero(test & readable)
    if len(set(manifest.label_sets[clean])) < 2 or not len(held_out):
        raise DataError(f"dataset {spec.name}: without the leaks too little is left to train on")
    groups = [manifest.groups[row] for row in held_out]
    units = np.unique(groups, return_inverse=True)[1] if spec.pooled else None

    def scores(rows: NDArray[np.int64]) -> dict[str, float]:
        regression = LogisticRegression(max_iter=2000, C=0.01)
        of_labels = OneVsRestClassifier(regression) if manifest.multilabel else regression
        probe = make_pipeline(StandardScaler(), of_labels)
        probe.fit(features.rows(rows).numpy(), manifest.labels[rows])
        found_NC = probe.predict_proba(features.rows(held_out).numpy())
        probabilities_NC = np.zeros((len(held_out), len(manifest.classes)))
        probabilities_NC[:, probe.classes_] = found_NC
        labels, of_units = pool(manifest.labels[held_out], probabilities_NC[None], units)
        values = score(labels, of_units[0], spec.target)
        return {name: round(values[name], 4) for name in ("auroc", "accuracy")}

    return Impact(
        backbone_spec.name,
        size,
        len(train) - len(clean),
        len(train),
        scores(train),
        scores(clean),
    )


def probe_backbone(name: str, weights_dir: Path | None) -> BackboneSpec:
    """Return the backbone of an alias or a timm name, with weights that are at hand.

    Weights in the weights folder are taken where those that the alias names are absent.

    Raises SweepError if there is no such backbone, or no weights for it.
    """
    try:
        spec = BackboneSpec.model_validate(name)
    except ValidationError as error:
        raise SweepError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None
    if (lacking := fetch_weights(spec, weights_dir)) is None:
        return spec
    files = sorted(weights_dir.glob(f"{spec.model}*.safetensors")) if weights_dir else []
    if not files:
        raise SweepError(f"backbone {name}: {lacking}")
    return spec.model_copy(update={"weights": files[0].name})


def as_json(data_check: DataCheck, impact: Impact | None) -> str:
    """Return everything the check found as a JSON object."""
    document: dict[str, Any] = {
        "dataset": data_check.name,
        "images": data_check.images,
        "groups": data_check.groups,
        "biased": data_check.biased,
        "findings": [{**asdict(f), "count": len(f.items)} for f in data_check.findings],
    }
    if impact is not None:
        document["impact"] = asdict(impact)
    return json.dumps(document, indent=1, ensure_ascii=False)


def print_check(data_check: DataCheck, impact: Impact | None, console: Console) -> None:
    """Print the counts, then each finding with its first items."""
    table = Table(title=data_check.name, title_justify="left")
    table.add_column("Class", overflow="fold")
    for part in SPLITS:
        table.add_column(part, justify="right")
    for label in data_check.images["train"]:
        table.add_row(escape(label), *(f"{data_check.images[part][label]:,}" for part in SPLITS))
    table.add_section()
    table.add_row("images", *(f"{data_check.samples[part]:,}" for part in SPLITS))
    table.add_row("groups", *(f"{data_check.groups[part]:,}" for part in SPLITS))
    console.print(table)
    for finding in data_check.findings:
        colour = {"bias": "bold red", "note": "yellow"}[finding.severity]
        text = f"[{colour}]{finding.severity}[/] {escape(finding.text)}"
        console.print(text, highlight=False, soft_wrap=True)
        for item in finding.items[:_SHOWN]:
            console.print(f"    {item}", markup=False, highlight=False, soft_wrap=True)
        if len(finding.items) > _SHOWN:
            console.print(f"    ... and {len(finding.items) - _SHOWN} more (all: --json)")
    if impact is not None:
        _print_impact(impact, console)
    if data_check.biased:
        console.print("This would bias a comparison.", style="bold red")
        if any(f.kind.endswith("across_splits") for f in data_check.findings):
            console.print("At launch, 'leaks: drop' (the default) leaves leaks out of training.")
    elif not data_check.findings:
        console.print("No problem found.", style="green")
    else:
        console.print("Nothing that would bias a comparison.", style="green")


def _print_impact(impact: Impact, console: Console) -> None:
    table = Table(
        title=f"Impact: logistic regression on {impact.backbone}, frozen, {impact.image_size} px",
        title_justify="left",
    )
    for name in ("Trained on", "Images", "Test AUROC", "Test accuracy"):
        table.add_column(name, justify="left" if name == "Trained on" else "right")
    left = impact.training - impact.removed
    for name, count, scores in (
        ("all, leaks included", impact.training, impact.with_leaks),
        ("without the leaks", left, impact.without_leaks),
    ):
        table.add_row(name, f"{count:,}", f"{scores['auroc']:.3f}", f"{scores['accuracy']:.3f}")
    console.print(table)
