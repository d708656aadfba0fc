"""Sweeps whose truth is known: simulated classifiers instead of trained ones."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from scipy.special import softmax
from scipy.stats import norm

from sweep.records.predictions import Predictions
from sweep.records.record import RunRecord
from sweep.records.results import CellResult, SweepResults, cell_result
from sweep.space.model import Space

PARAMETERS = {
    "small": 1_000_000, "large": 20_000_000, "other": 5_000_000,
    "vit_s": 22_000_000, "vit_b": 87_000_000, "vit_l": 304_000_000,
}  # fmt: skip


def classifier(
    samples: int,
    auroc: float,
    seed: int,
    groups: int | None = None,
    shared: float = 0.0,
    classes: int = 2,
) -> Predictions:
    """Return predictions of a classifier whose AUROC, in the limit, is known.

    Args:
        groups: samples come in so many groups, of one class each.
        shared: part of the variance that samples have in common with other classifiers of the
            same number of samples.
    """
    rng = np.random.default_rng(seed)
    common = np.random.default_rng([samples, 1]).normal(size=(samples, classes))
    labels = np.arange(samples) % classes
    groups_N = np.arange(samples)
    if groups is not None:
        groups_N = np.arange(samples) % groups
        labels = groups_N % classes
    noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=(samples, classes))
    # The margin of two scores of variance 1 has variance 2, and is apart by twice the signal.
    logits = noise + norm.ppf(auroc) * np.eye(classes)[labels]
    return Predictions(labels, groups_N, softmax(logits, axis=1))


def as_table(predictions: Predictions, names: list[str] | None = None) -> pa.Table:
    """Return predictions as a confirmation keeps them."""
    classes = predictions.probabilities_NC.shape[1]
    columns = {
        "sample": [f"s{i}" for i in range(len(predictions.labels_N))],
        "group": [f"g{group:05}" for group in predictions.groups_N],
        "label": predictions.labels_N,
    }
    for index, name in enumerate(names or [f"class{i}" for i in range(classes)]):
        columns[f"p_{name}"] = predictions.probabilities_NC[:, index]
    return pa.table(columns)


def space(name: str = "s", **changes: object) -> Space:
    """Return the space of a simulated sweep of three backbones."""
    document = {
        "name": name,
        "datasets": [{"name": "eyes", "layout": "folder", "path": "eyes"}],
        "backbones": [
            {"name": "small", "model": "resnet18", "pretraining": "ImageNet"},
            {"name": "large", "model": "resnet50", "pretraining": "ImageNet"},
            {"name": "other", "model": "vgg11", "weights": "none"},
        ],
        "freeze": ["frozen", "full"],
        "budget": {"trials": 4, "epochs": 3},
        "seeds": 3,
        **changes,
    }
    return Space.model_validate(document)


def sweep_of(
    aurocs: dict[str, float],
    name: str = "s",
    samples: int = 300,
    test: str = "test",
    shared: float = 0.0,
    groups: int | None = None,
    classes: int = 2,
    names: list[str] | None = None,
    **changes: object,
) -> SweepResults:
    """Return a sweep whose classifiers have these AUROCs, by the cell's name or its end.

    A cell that none of the names ends was not confirmed.
    """
    grid = space(name, **changes)
    cells = []
    for place, cell in enumerate(grid.cells()):
        auroc = next((v for end, v in aurocs.items() if cell.name.endswith(end)), None)
        count = 0 if auroc is None else cell.confirmations
        records = [
            record(name, cell, "trial", n, 10 ** (-4.5 + 3 * n / cell.trials))
            for n in range(cell.trials)
        ]
        records += [record(name, cell, "confirmation", n, 0.01, test=test) for n in range(count)]
        tables = {
            n: as_table(
                classifier(samples, auroc or 0, 1000 * place + n, groups, shared, classes), names
            )
            for n in range(count)
        }
        cells.append(cell_result(name, cell, records, lambda r, _, t=tables: t[r.number]))
    return SweepResults(name, f"id-{name}", grid, cells, True, "sqlite:///nowhere.db")


def record(
    sweep: str, cell: object, kind: str, number: int, rate: float, test: str = "test"
) -> RunRecord:
    """Return the record of a trial or a confirmation that ended well."""
    backbone = cell.backbone.name
    return RunRecord(
        key=f"{sweep}:{cell.name}:{kind}:{number}", sweep=sweep, dataset=cell.dataset.name,
        backbone=backbone, freeze=cell.freeze, train_fraction=cell.train_fraction, kind=kind,
        state="complete", number=number, seconds=2.0 if cell.freeze == "frozen" else 20.0,
        params={"learning_rate": rate, "objective": "auroc", "epochs": cell.epochs,
                "image_size": 64, "batch_size": 32, "optimizer": "adam", "seed": number},
        history=[{"epoch": e, "train/loss": 1 / e, "val/loss": 1 / e, "val/auroc": 1 - 1 / (e + 2)}
                 for e in range(1, cell.epochs + 1)],
        best={"epoch": 3, "value": 0.8 + number / 100, "val/auroc": 0.8 + number / 100},
        predictions="kept" if kind == "confirmation" else None,
        facts={"parameters": PARAMETERS[backbone], "learnable": 1000, "test_samples": test,
               "fingerprint": "f", "split_fingerprint": "f", "peak_memory_mib": 500,
               "threads": 1, "device": "x86_64", "accelerator": "cpu", "version": "0.1.0",
               "torch": "2", "timm": "1", "python": "3.11", "weights_hash": "w" + backbone,
               "images_per_second": 50.0, "samples": {"train": 800, "val": 100, "test": 300},
               "groups": {"train": 400, "val": 50, "test": 150}, "left_out": 0,
               "flops": 1e9 if cell.freeze == "frozen" else 1e10, "image_flops": 1e8},
    )  # fmt: skip


def broken(cell: CellResult, **changes: object) -> CellResult:
    """Return a cell of which something is different."""
    return replace(cell, **changes)
