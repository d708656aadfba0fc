"""What the search and its pruner earn: the best score of a grid, with fewer epochs.

For each cell: a plain logarithmic grid of learning rates, every one trained to its last epoch,
against the sweep's own search of as many trials with pruning on (frozen cells are not pruned).
Both choose by the same validation split, from the same initial heads and sample orders.

    SWEEP_DATA=... SWEEP_WEIGHTS=... python benchmarks/search_quality.py [--only frozen]
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from machine import data_root, describe, run_sweep, weights_dir

from sweep.backbones.backbone import load_backbone
from sweep.data.dataset import DatasetView, open_dataset
from sweep.space.model import Cell, Space
from sweep.train.allocator import keep_freed_memory
from sweep.train.features import open_features
from sweep.train.finetune import FineTuning
from sweep.train.learner import Learner, Task, Trial
from sweep.train.probe import BatchedLinearProbe

XRAY = {"name": "nih", "layout": "folder", "path": "nih_chest_xray", "group": r"^(\d+)_"}
PNEUMONIA = {"name": "pneumonia", "layout": "medmnist", "path": "pneumoniamnist.npz"}
LITE2 = {
    "name": "lite2",
    "model": "tf_efficientnet_lite2",
    "weights": "tf_efficientnet_lite2.in1k.safetensors",
}

FROZEN = {
    "datasets": ["brain_mri", XRAY, PNEUMONIA], "backbones": ["lite0", LITE2], "freeze": ["frozen"],
    "image_size": 128, "budget": {"trials": 16, "epochs": 100}, "leaks": "allow",
}  # fmt: skip
TUNED = {
    "datasets": [XRAY], "backbones": ["lite0", LITE2], "freeze": ["full"],
    "image_size": 48, "budget": {"trials": 8, "epochs": 9},
}  # fmt: skip


@dataclass
class Found:
    """The best validation score and the epochs it took."""

    best: float
    epochs: int


def curve(space: Space, cell: Cell, rates: list[float], cache: Path) -> list[Found]:
    """Return what each of some learning rates finds in a cell, trained to its last epoch."""
    device = torch.device("cpu")
    members = [Trial(number, {"learning_rate": rate}) for number, rate in enumerate(rates)]
    backbone = load_backbone(cell.backbone, space.image_size, weights_dir())
    interpolation = backbone.preprocessing.interpolation
    view = DatasetView(cell.dataset, space.split, space.image_size, interpolation)
    dataset = open_dataset(view, data_root(), cache)
    rows = {split: dataset.rows(split) for split in ("train", "val", "test")}
    labels = {split: torch.from_numpy(dataset.labels[own]) for split, own in rows.items()}
    classes, seed = len(dataset.classes), cell.seed(space.split.seed, "search")
    how = (space.recipe_of(cell), cell.epochs, space.objective, seed, device)
    task = Task(backbone, labels, classes, *how)
    if cell.freeze == "frozen":
        outputs = open_features(backbone, dataset.store, cache, device)
        inputs = {split: outputs.rows(own) for split, own in rows.items()}
        return _trained([BatchedLinearProbe(task, inputs, members)], cell)
    learners = (FineTuning(task, dataset.store, rows, cell.freeze, member) for member in members)
    return _trained(learners, cell)


def _trained(learners: Iterable[Learner], cell: Cell) -> list[Found]:
    found = []
    for one in learners:
        epochs: Counter[int] = Counter()
        while one.active and one.epoch < cell.epochs:
            epochs.update(score.number for score in one.train_epoch())
        found += [Found(best.value, epochs[number]) for number, best in one.best.items()]
    return found


def grid(space: Space, cell: Cell, cache: Path) -> Found:
    """Train a logarithmic grid of the cell's rates, each to the end."""
    domain = space.learning_rate
    rates = np.geomspace(domain.low, domain.high, cell.trials).tolist()
    found = curve(space, cell, rates, cache)
    return Found(max(one.best for one in found), sum(one.epochs for one in found))


def searched(path: Path, space: Space, folder: Path) -> dict[str, Found]:
    """Run the sweep and read what its trials found."""
    run_sweep("launch", "--space", path, "--data-root", data_root(), "--weights-dir",
              weights_dir(), folder=folder)  # fmt: skip
    found = {cell.name: Found(-1.0, 0) for cell in space.cells()}
    for file in (folder / "sweeps" / space.name / "runs").glob("*.json"):
        record = json.loads(file.read_text())
        if record["kind"] == "trial":
            cell = found["/".join((record["dataset"], record["backbone"], record["freeze"]))]
            cell.epochs += len(record["history"])
            if record["state"] == "complete":
                cell.best = max(cell.best, record["best"]["value"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=["frozen", "full"])
    chosen = parser.parse_args().only
    keep_freed_memory()
    print(describe())
    print(f"{'cell':28} {'grid':>8} {'search':>8} {'apart':>8}  epochs: grid  search  share")
    for mode, text in (("frozen", FROZEN), ("full", TUNED)):
        if chosen not in (None, mode):
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            document = {"name": mode, "seeds": 1, "edges": "keep", **text}
            path = folder / "space.yaml"
            path.write_text(yaml.safe_dump(document))
            space = Space.model_validate(document)
            found = searched(path, space, folder)
            for cell in space.cells():
                plain, own = grid(space, cell, folder / "cache"), found[cell.name]
                print(f"{cell.name:28} {plain.best:8.4f} {own.best:8.4f} "
                      f"{own.best - plain.best:+8.4f} {plain.epochs:13} {own.epochs:7} "
                      f"{own.epochs / plain.epochs:6.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
