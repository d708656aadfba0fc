"""Layers that do not learn, computed once: epochs of `last:k` against computing them in every step.

Made-up images and random weights, as neither changes the work. Both fine-tunings take the same
steps; their epochs take turns, and the medians are compared. The pass that computes the outputs is
in the first epoch, which is printed apart.

    python benchmarks/frozen_layers.py [--images 256] [--size 98]
"""

import argparse
import statistics
import time

import numpy as np
import torch
from machine import describe

from sweep.backbones.backbone import load_backbone
from sweep.data.store.image_store import Store
from sweep.space.backbone import BackboneSpec
from sweep.space.recipe import Recipe
from sweep.train import finetune
from sweep.train.allocator import keep_freed_memory
from sweep.train.finetune import FineTuning
from sweep.train.learner import Task, Trial

MODELS = ("tf_efficientnet_lite0", "vit_small_patch14_dinov2")
MODES = ("last:1", "last:2", "last:4")
EPOCHS = 4


def tuning_of(model: str, mode: str, options: argparse.Namespace) -> FineTuning:
    """Return a fine-tuning of which a quarter of the images is in validation."""
    rng, size, count = np.random.default_rng(0), options.size, options.images
    pixels = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    rows = {"train": np.arange(count * 3 // 4), "val": np.arange(count * 3 // 4, count)}
    labels = {split: torch.from_numpy(own % 2) for split, own in rows.items()}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spec = BackboneSpec(name="b", model=model, weights="none")
    task = Task(load_backbone(spec, size, None), labels, 2, Recipe(), 100, "auroc", 0, device)
    store = Store.of(pixels, "made up")
    return FineTuning(task, store, rows, mode, Trial(0, {"learning_rate": 1e-4}))


def seconds_of(tuning: FineTuning) -> float:
    """Return the seconds of an epoch with its validation."""
    began = time.perf_counter()
    tuning.train_epoch()
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=98)
    options = parser.parse_args()
    keep_freed_memory()
    print(describe())
    print("| network | mode | each time, s an epoch | once, s | faster | first epoch, s |")
    print("|---|---|---|---|---|---|")
    find = finetune.frozen_names
    for model in MODELS:
        for mode in MODES:
            once, each = (tuning_of(model, mode, options) for _ in range(2))
            first = seconds_of(once)
            finetune.frozen_names = lambda *_: []
            seconds_of(each)
            finetune.frozen_names = find
            times = [(seconds_of(each), seconds_of(once)) for _ in range(EPOCHS)]
            slow, fast = (statistics.median(column) for column in zip(*times, strict=True))
            line = f"{slow:.2f} | {fast:.2f} | {slow / fast:.1f} x | {first:.2f}"
            print(f"| {model} | {mode} | {line} |", flush=True)


if __name__ == "__main__":
    main()
