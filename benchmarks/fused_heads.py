"""Sixteen heads trained as one, against the same heads one after the other in plain PyTorch.

Both train on the same cached features of brain_mri (EfficientNet-Lite0, 224 px; random numbers
of the same shape with --random) for 100 epochs, and score nothing; then the weights of both are
compared.

    SWEEP_DATA=... python benchmarks/fused_heads.py [--random]
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from machine import brain_mri, data_root, describe, lite0
from torch import Tensor

from sweep.backbones.backbone import initial_head, load_backbone
from sweep.base.settings import default_cache
from sweep.data.dataset import DatasetView, open_dataset
from sweep.space.recipe import Recipe, Split
from sweep.train.features import open_features
from sweep.train.learner import Task, Trial
from sweep.train.probe import BatchedLinearProbe
from sweep.train.schedule import epoch_batches

RATES, EPOCHS, SIZE = 16, 100, 224
LOW, HIGH = 1e-5, 1e-1  # the contract's range; the highest rates may diverge


def real_features() -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    backbone = load_backbone(lite0(), SIZE, None)
    interpolation = backbone.preprocessing.interpolation
    cache: Path = default_cache()
    dataset = open_dataset(
        DatasetView(brain_mri(), Split(), SIZE, interpolation), data_root(), cache
    )
    features = open_features(backbone, dataset.store, cache, torch.device("cpu"))
    rows = {split: dataset.rows(split) for split in ("train", "val", "test")}
    labels = {split: torch.from_numpy(dataset.labels[rows[split]]) for split in rows}
    return {split: features.rows(rows[split]) for split in rows}, labels, len(dataset.classes)


def random_features() -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    generator = torch.Generator().manual_seed(0)
    counts = {"train": 2296, "val": 574, "test": 394}
    features = {s: torch.randn(n, 1280, generator=generator).abs() for s, n in counts.items()}
    labels = {s: torch.randint(0, 4, (n,), generator=generator) for s, n in counts.items()}
    return features, labels, 4


def one_by_one(features_ND: Tensor, labels_N: Tensor, classes: int, rates: list[float]) -> Tensor:
    """Return the weights (K, C, D) of heads trained one after the other."""
    weights = []
    for rate in rates:
        head = torch.nn.Linear(features_ND.shape[1], classes)
        with torch.no_grad():
            head.weight.copy_(initial_head(classes, features_ND.shape[1], 0))
            head.bias.zero_()
        optimizer = torch.optim.Adam(head.parameters(), lr=rate)
        for epoch in range(1, EPOCHS + 1):
            for batch in epoch_batches(len(labels_N), 32, 0, epoch):
                loss = torch.nn.functional.cross_entropy(head(features_ND[batch]), labels_N[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        weights.append(head.weight.detach().clone())
    return torch.stack(weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--random", action="store_true", help="features from random numbers")
    features, labels, classes = (random_features if parser.parse_args().random else real_features)()
    rates = np.geomspace(LOW, HIGH, RATES).tolist()
    members = [Trial(number, {"learning_rate": rate}) for number, rate in enumerate(rates)]
    device = torch.device("cpu")
    backbone = load_backbone(lite0(), SIZE, None)

    def wave() -> BatchedLinearProbe:
        task = Task(backbone, labels, classes, Recipe(), EPOCHS, "auroc", 0, device)
        return BatchedLinearProbe(task, features, members)

    print(describe())
    fused = wave()
    began = time.perf_counter()
    for epoch in range(1, EPOCHS + 1):
        fused.train_only(epoch)
    fused_seconds = time.perf_counter() - began
    scored = wave()
    began = time.perf_counter()
    for _ in range(EPOCHS):
        scored.train_epoch()
    scored_seconds = time.perf_counter() - began
    began = time.perf_counter()
    plain = one_by_one(features["train"], labels["train"], classes, rates)
    plain_seconds = time.perf_counter() - began
    found = fused.weights()[:-1].permute(1, 2, 0)
    apart = (found - plain).flatten(1).norm(dim=1) / plain.flatten(1).norm(dim=1)
    print(f"16 heads x 100 epochs, one after the other {plain_seconds:7.2f} s")
    print(f"the same as one wave                       {fused_seconds:7.2f} s  "
          f"{plain_seconds / fused_seconds:.1f} x faster")  # fmt: skip
    print(f"  with every metric of every epoch         {scored_seconds:7.2f} s  "
          f"{plain_seconds / scored_seconds:.1f} x faster")  # fmt: skip
    print("relative distance of the final weights, by rate:")
    for rate, distance in zip(rates, apart.tolist(), strict=True):
        print(f"  {rate:8.2e}  {distance:.1e}")


if __name__ == "__main__":
    main()
