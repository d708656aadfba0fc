"""What `sweep.train` makes of a GPU, against the bare step on one batch that lies on it.

For each network: images a second of the frozen pass, and of training steps (full, lora:8, last:2),
each with the bare loop of the same network on the same machine in turn, and the peak of the memory.
The goal is 0.95 of the bare step, 0.9 with augmentation. Then: what torch.compile would save and
cost, and two and four trainings that share the device.

See gpu.sh; the table goes into benchmarks/README.md.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import describe
from torch.nn.functional import cross_entropy

from sweep.backbones.backbone import Backbone, forget_backbones, load_backbone
from sweep.data.store.image_store import Store
from sweep.space.backbone import BackboneSpec
from sweep.space.recipe import Recipe
from sweep.train.features import autocast, normalise, open_features
from sweep.train.finetune import FineTuning
from sweep.train.learner import Task, Trial

MODELS = (
    "vgg16", "resnet50", "densenet121", "vit_small_patch14_dinov2", "vit_base_patch14_dinov2",
    "vit_large_patch14_dinov2", "vit_small_patch16_dinov3",
)  # fmt: skip
MODES = ("full", "lora:8", "last:2")
SHARED = "vit_small_patch14_dinov2"
REPEATS = 3


def device_of() -> torch.device:
    """Return the GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def rate(images: int, work: Callable[[], object], seconds: float) -> float:
    """Return the images a second of a piece of work that is repeated for some time."""
    wait()
    began, done = time.perf_counter(), 0
    while not done or time.perf_counter() - began < seconds:
        work()
        done += images
        wait()
    return done / (time.perf_counter() - began)


def in_turn(
    images: int, works: dict[str, Callable[[], object]], seconds: float
) -> dict[str, float]:
    """Return the median rate of each of several works, which take turns."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(REPEATS + 1):
        for name, work in works.items():
            speed = rate(images, work, seconds if repeat else 0)
            if repeat:  # the first is for warming up
                found[name].append(speed)
    return {name: statistics.median(speeds) for name, speeds in found.items()}


def loaded(model: str, size: int) -> Backbone:
    """Return a backbone with random weights."""
    spec = BackboneSpec(name="b", model=model, weights="none")
    return load_backbone(spec, size, None)


def store_of(images: int, size: int) -> Store:
    """Return made-up images."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, size, size, 3), np.uint8)
    return Store.of(pixels, "made up")


def tuning_of(backbone: Backbone, store: Store, mode: str, recipe: Recipe) -> FineTuning:
    """Return a fine-tuning of which every image is in training and the first in validation."""
    rows = {"train": np.arange(len(store)), "val": np.arange(8), "test": np.arange(8)}
    labels = {split: torch.from_numpy(own % 2) for split, own in rows.items()}
    task = Task(backbone, labels, 2, recipe, 10_000, "auroc", 0, device_of())
    return FineTuning(task, store, rows, mode, Trial(0, {"learning_rate": 1e-4}))


def bare_epoch(tuning: FineTuning, batch: torch.Tensor, steps: int) -> Callable[[], None]:
    """Return the plain loop: the same network and optimizer, one batch again and again."""
    network, optimizer, device = tuning._network, tuning.optimizer, device_of()
    targets = torch.arange(len(batch), device=device) % 2

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with autocast(device):
                loss = cross_entropy(network(batch).float(), targets)
            loss.backward()
            optimizer.step()

    return run


def epoch_of(tuning: FineTuning) -> Callable[[], None]:
    """Return an epoch of training as a sweep takes it, without its validation."""

    def run() -> None:
        tuning.epoch += 1
        tuning.train_only()

    return run


def steps_line(backbone: Backbone, store: Store, mode: str, options: argparse.Namespace) -> str:
    """Return a line of the table: bare, ours, ours with augmentation, memory."""
    recipe = {"batch_size": options.batch}
    plain = tuning_of(backbone, store, mode, Recipe.model_validate(recipe))
    moved = tuning_of(backbone, store, mode, Recipe.model_validate({**recipe, "augment": "light"}))
    first = torch.from_numpy(store.rows(np.arange(options.batch))).to(device_of())
    batch = normalise(first, backbone.preprocessing)
    works = {
        "bare": bare_epoch(plain, batch, len(store) // options.batch),
        "ours": epoch_of(plain),
        "augmented": epoch_of(moved),
    }
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    found = in_turn(len(store), works, options.seconds)
    memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    shares = " | ".join(f"{found[name] / found['bare']:.2f}" for name in ("ours", "augmented"))
    return f"{found['bare']:.0f} | {found['ours']:.0f} | {shares} | {memory:.1f}"


def frozen_line(backbone: Backbone, store: Store, options: argparse.Namespace) -> str:
    """Return the rates of the features' pass: bare, ours, and ours as a share."""
    device = device_of()
    first = torch.from_numpy(store.rows(np.arange(min(256, len(store))))).to(device)
    batch, trunk = normalise(first, backbone.preprocessing), backbone.trunk.to(device)
    steps = len(store) // len(batch)

    def bare() -> None:
        with torch.inference_mode(), autocast(device):
            for _ in range(steps):
                trunk(batch)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            open_features(backbone, store, Path(folder), device)

    found = in_turn(len(store), {"bare": bare, "ours": ours}, options.seconds)
    return f"{found['bare']:.0f} | {found['ours']:.0f} | {found['ours'] / found['bare']:.2f} | | "


def compiled_line(backbone: Backbone, store: Store, options: argparse.Namespace) -> str:
    """Return the rate of the bare step compiled, and how long compiling took."""
    tuning = tuning_of(backbone, store, "full", Recipe(batch_size=options.batch))
    first = torch.from_numpy(store.rows(np.arange(options.batch))).to(device_of())
    batch, steps = normalise(first, backbone.preprocessing), len(store) // options.batch
    bare = in_turn(len(store), {"bare": bare_epoch(tuning, batch, steps)}, options.seconds)["bare"]
    tuning._network.compile()
    began = time.perf_counter()
    bare_epoch(tuning, batch, 1)()
    wait()
    compiling = time.perf_counter() - began
    faster = in_turn(len(store), {"bare": bare_epoch(tuning, batch, steps)}, options.seconds)
    return f"{bare:.0f} | {faster['bare']:.0f} | {faster['bare'] / bare:.2f} | {compiling:.0f} s |"


def shared_rate(count: int, options: argparse.Namespace) -> float:
    """Return the images a second of several processes that train at the same time."""
    command = [
        sys.executable, __file__, "--worker", "--size", str(options.size), "--batch",
        str(options.batch), "--images", str(options.images), "--seconds", str(options.seconds),
        "--models", options.models[0] if SHARED not in options.models else SHARED,
    ]  # fmt: skip
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    return sum(float(process.communicate()[0].split()[-1]) for process in running)


def worker(options: argparse.Namespace) -> None:
    """Train for a while, and print the rate."""
    store = store_of(options.images, options.size)
    backbone = loaded(options.models[0], options.size)
    tuning = tuning_of(backbone, store, "full", Recipe(batch_size=options.batch))
    rate(len(store), epoch_of(tuning), options.seconds)
    print(rate(len(store), epoch_of(tuning), 3 * options.seconds))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile, too")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options)
        return
    print(describe())
    print(f"{options.size} px, batches of {options.batch}, {options.images} images in a store\n")
    print("| network | work | bare images/s | ours | share | share, augmented | GiB |")
    print("|---|---|---|---|---|---|---|")
    store = store_of(options.images, options.size)
    for model in options.models:
        backbone = loaded(model, options.size)
        print(f"| {model} | frozen pass | {frozen_line(backbone, store, options)} |", flush=True)
        for mode in MODES:
            line = steps_line(backbone, store, mode, options)
            print(f"| {model} | {mode} | {line} |", flush=True)
        if options.compile:
            print(f"| {model} | compiled | {compiled_line(backbone, store, options)} |", flush=True)
        forget_backbones()
    print("\n| processes on one device | images/s, full |\n|---|---|")
    for count in (1, 2, 4):
        print(f"| {count} | {shared_rate(count, options):.0f} |", flush=True)


if __name__ == "__main__":
    main()
