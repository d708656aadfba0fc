"""Fine-tuning from the store, against the same step fed with one batch already in memory.

Both take the same number of steps with the same network, optimizer and batch size; the second
gets the same batch, normalised, every time. They alternate, and the medians are compared.

    SWEEP_DATA=... python benchmarks/finetune_throughput.py [--size 128] [--model lite0]
"""

import argparse
import statistics
import time

import numpy as np
import torch
from machine import brain_mri, data_root, describe
from torch.nn.functional import cross_entropy

from sweep.backbones.backbone import load_backbone
from sweep.base.settings import default_cache
from sweep.data.dataset import DatasetView, open_dataset
from sweep.space.backbone import BackboneSpec
from sweep.space.recipe import Recipe, Split
from sweep.train.allocator import keep_freed_memory
from sweep.train.features import autocast, normalise
from sweep.train.finetune import FineTuning
from sweep.train.learner import Task, Trial

IMAGES = 640


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--model", default="lite0")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = load_backbone(BackboneSpec.model_validate(chosen.model), chosen.size, None)
    view = DatasetView(brain_mri(), Split(), chosen.size, backbone.preprocessing.interpolation)
    dataset = open_dataset(view, data_root(), default_cache())
    rows = {split: dataset.rows(split) for split in ("train", "val", "test")}
    rows["train"] = np.random.default_rng(0).permutation(rows["train"])[:IMAGES]
    labels = {split: torch.from_numpy(dataset.labels[own]) for split, own in rows.items()}
    recipe = Recipe()
    trial = Trial(0, {"learning_rate": 1e-4})
    task = Task(backbone, labels, len(dataset.classes), recipe, 1000, "auroc", 0, device)
    tuning = FineTuning(task, dataset.store, rows, "full", trial)
    network, optimizer = tuning.network(), tuning.optimizer
    first = torch.from_numpy(dataset.store.rows(rows["train"][: recipe.batch_size])).to(device)
    batch, targets = normalise(first, backbone.preprocessing), labels["train"][:32].to(device)

    def from_memory() -> None:
        network.train()
        for _ in range(IMAGES // recipe.batch_size):
            optimizer.zero_grad(set_to_none=True)
            with autocast(device):
                loss = cross_entropy(network(batch).float(), targets)
            loss.backward()
            optimizer.step()
            loss.item()

    times: dict[str, list[float]] = {"store": [], "memory": []}
    for repeat in range(chosen.repeats + 1):
        for name, work in (("store", tuning.train_only), ("memory", from_memory)):
            began = time.perf_counter()
            work()
            if repeat:  # the first is for warming up
                times[name].append(IMAGES / (time.perf_counter() - began))
    store, memory = (statistics.median(times[name]) for name in ("store", "memory"))
    print(describe())
    print(f"{chosen.model} full at {chosen.size} px, batch {recipe.batch_size}, {device.type}")
    print(f"one batch from memory, again and again {memory:8.1f} images/s")
    print(f"from the store                         {store:8.1f} images/s  {store / memory:.3f} x")


if __name__ == "__main__":
    main()
