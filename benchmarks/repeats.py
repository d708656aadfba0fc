"""How cells that are not frozen should repeat their choice: two ways, on `last:1` of lite0.

Of 20 trials and 5 confirmations, each with its own partition into training and validation:
*resample* searches on one partition and chooses each confirmation's rate on a bootstrap resample of
its validation predictions, then trains again; *repeat* deals the trials to the confirmations, four
each, and takes the best of each. Whole procedures are compared with each other: the share of pairs
called different at p < 0.05 is a rate of false claims, the mean test AUROC says which finds the
better models. The trunk below the last block is computed once, as it does not learn.

    SWEEP_DATA=... SWEEP_WEIGHTS=... python benchmarks/repeats.py nih --runs 30       (30 minutes)
"""

import argparse
import copy
import itertools

import numpy as np
import torch
from claims import NIH
from machine import data_root, describe, weights_dir
from torch.nn.functional import cross_entropy

from sweep.backbones.backbone import load_backbone
from sweep.comparison.stats.difference import weighted_sum
from sweep.comparison.stats.sampling import estimate
from sweep.data.dataset import DatasetView, open_dataset
from sweep.data.splits import carve
from sweep.records.predictions import Predictions
from sweep.search.confirmation import choose_in_resample
from sweep.space.backbone import BackboneSpec
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec
from sweep.train.features import normalise
from sweep.train.metrics import score

TRIALS, EPOCHS, CONFIRMATIONS, SIZE = 20, 10, 5, 64
MODEL = {"name": "lite0", "model": "tf_efficientnet_lite0",
         "weights": "tf_efficientnet_lite0.in1k.safetensors"}  # fmt: skip


class Task:
    """A data set below the last block of the network, and how its non-test samples are cut."""

    def __init__(self, entry: object) -> None:
        spec = DatasetSpec.model_validate(entry).model_copy(update={"leaks": "drop"})
        backbone = load_backbone(BackboneSpec.model_validate(MODEL), SIZE, weights_dir())
        view = DatasetView(spec, Split(), SIZE, backbone.preprocessing.interpolation)
        found = open_dataset(view, data_root())
        self.trunk = backbone.trunk.eval()
        self.labels = torch.from_numpy(found.labels)
        self.classes = len(found.classes)
        self.groups = np.unique(found.clusters, return_inverse=True)[1]
        self.test = found.rows("test")
        self.pool = np.concatenate([found.rows("train"), found.rows("val")])
        parts = []
        with torch.inference_mode():
            for rows in np.array_split(np.arange(len(found.store)), len(found.store) // 64 + 1):
                pixels = normalise(torch.from_numpy(found.store.rows(rows)), backbone.preprocessing)
                parts.append(self.trunk.blocks(self.trunk.bn1(self.trunk.conv_stem(pixels))))
        self.inputs = torch.cat(parts).clone()

    def partition(self, *seed: int) -> tuple[np.ndarray, np.ndarray]:
        labels = self.labels[self.pool].numpy()
        rng = np.random.default_rng(seed)
        chosen = carve(labels, self.groups[self.pool], 0.25, rng)
        return self.pool[~chosen], self.pool[chosen]

    def trained(self, rate: float, parts: tuple[np.ndarray, np.ndarray], seed: int):  # type: ignore[no-untyped-def]
        """Return the best validation AUROC and the probabilities of val and test then."""
        train, val = parts
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            copy.deepcopy(self.trunk.conv_head), copy.deepcopy(self.trunk.bn2),
            torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
            torch.nn.Linear(self.trunk.conv_head.out_channels, self.classes),
        )  # fmt: skip
        network.requires_grad_(True)
        optimizer = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
        order = torch.Generator().manual_seed(seed)
        best = (-1.0, None, None)
        for _ in range(EPOCHS):
            network.train()
            for batch in torch.randperm(len(train), generator=order).split(32):
                rows = torch.from_numpy(train)[batch]
                if len(rows) > 1:
                    loss = cross_entropy(network(self.inputs[rows]), self.labels[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            network.eval()
            with torch.inference_mode():
                said = [network(self.inputs[rows]).double().softmax(1).numpy()
                        for rows in (val, self.test)]  # fmt: skip
            if not np.isfinite(said[0]).all():
                break
            value = score(self.labels[val].numpy(), said[0])["auroc"]
            best = max(best, (value, *said), key=lambda item: item[0])
        return best

    def resample(self, run: int, rates: np.ndarray) -> list[np.ndarray]:
        parts = self.partition(1, run, 0)
        trials = [self.trained(rate, parts, 1000 * run + i) for i, rate in enumerate(rates)]
        labels, groups = self.labels[parts[1]].numpy(), self.groups[parts[1]]
        sound = [(rate, t) for rate, t in zip(rates, trials, strict=True) if t[1] is not None]
        found = []
        for index in range(CONFIRMATIONS):
            place = int(np.argmax([trial[0] for _, trial in sound]))
            if index:
                rng = np.random.default_rng([2, run, index])
                told = [Predictions(labels, groups, trial[1]) for _, trial in sound]
                place = choose_in_resample(told, "auroc", rng) or 0
            own = self.partition(1, run, 1 + index)
            found.append(self.trained(sound[place][0], own, 1000 * run + 100 + index)[2])
        return found

    def repeat(self, run: int, rates: np.ndarray) -> list[np.ndarray]:
        found = []
        for index in range(CONFIRMATIONS):
            own, seed = self.partition(2, run, index), 1000 * run + 200 + index
            dealt = [self.trained(rate, own, seed) for rate in rates[index::CONFIRMATIONS]]
            found.append(max(dealt, key=lambda item: item[0])[2])
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset", choices=["nih", "ham10000", "chest_xray", "lgg_mri"])
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args()
    print(describe())
    task = Task(NIH if arguments.dataset == "nih" else arguments.dataset)
    labels_N = task.labels[task.test].numpy()
    groups_N = np.unique(task.groups[task.test], return_inverse=True)[1]
    print("| way | shared | called different | test AUROC | SD of the mean | SD of one |")
    print("|---|---|---|---|---|---|")
    for way in (task.resample, task.repeat):
        procedures = []
        for run in range(arguments.runs):
            rng = np.random.default_rng([7, run])
            places = (rng.permutation(TRIALS) + rng.random(TRIALS)) / TRIALS
            procedures.append(way(run, np.exp(np.log(1e-5) + np.log(1e4) * places)))
        for shared in (0.0, 0.1):
            cells = [
                estimate([Predictions(labels_N, groups_N, p) for p in found], None, shared)["auroc"]
                for found in procedures
            ]
            called = [weighted_sum([(1, a), (-1, b)]).p < 0.05
                      for a, b in itertools.combinations(cells, 2)]  # fmt: skip
            points = [cell.point for cell in cells]
            print(f"| {way.__name__} | {shared} | {np.mean(called):.4f} | {np.mean(points):.4f} | "
                  f"{np.std(points):.4f} | {np.mean([c.spread for c in cells]):.4f} |")  # fmt: skip


if __name__ == "__main__":
    main()
