"""What choices of procedure do to the answer, one at a time, on real images.

Prints the tables of docs/original-study.md: intervals, splits by image, one learning rate for
every model, eval mode after the first epoch, and the order of the samples, each beside the other
way, on the shared data. Where a row says "public code" it is what a line of the published code of
arXiv 2402.07595 does, which the page names. About 20 minutes on 2 cores; a part alone:
--only splits.

    SWEEP_DATA=... SWEEP_WEIGHTS=... python benchmarks/original_study.py
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from machine import data_root, describe, weights_dir
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import cross_entropy

from sweep.backbones.backbone import Backbone, load_backbone
from sweep.base.settings import default_cache
from sweep.comparison.stats.intervals import Counts, interval
from sweep.comparison.stats.sampling import estimate
from sweep.data.dataset import Dataset, DatasetView, open_dataset
from sweep.records.results import Predictions
from sweep.space.backbone import BackboneSpec
from sweep.space.recipe import Recipe, Split
from sweep.space.specs import DatasetSpec
from sweep.train.allocator import keep_freed_memory
from sweep.train.features import normalise, open_features
from sweep.train.learner import Task, Trial
from sweep.train.metrics import score
from sweep.train.probe import BatchedLinearProbe

CPU = torch.device("cpu")
STUDYS_RATE = 1e-4
SPLITS = ("train", "val", "test")
NIH = {"name": "nih", "layout": "folder", "path": "nih_chest_xray", "group": r"^(\d+)_"}
MODELS = (
    {"name": "lite0", "model": "tf_efficientnet_lite0",
     "weights": "tf_efficientnet_lite0.in1k.safetensors"},
    {"name": "lite2", "model": "tf_efficientnet_lite2",
     "weights": "tf_efficientnet_lite2.in1k.safetensors"},
    {"name": "lite0_random", "model": "tf_efficientnet_lite0", "weights": "none"},
)  # fmt: skip


def opened(dataset: object, model: dict[str, str], size: int) -> tuple[Backbone, Dataset]:
    backbone = load_backbone(BackboneSpec.model_validate(model), size, weights_dir())
    spec = DatasetSpec.model_validate(dataset).model_copy(update={"leaks": "drop"})
    interpolation = backbone.preprocessing.interpolation
    return backbone, open_dataset(DatasetView(spec, Split(), size, interpolation), data_root())


def intervals() -> None:
    """Bootstrap an accuracy of 84 % of 624 images, as the public code does and as usual."""
    rng = np.random.default_rng(0)
    hits_N = np.arange(624) < round(0.84 * 624)

    def resampled(hits: np.ndarray) -> np.ndarray:
        return rng.binomial(len(hits), hits.mean(), 5000) / len(hits)

    def of_the_mean(hits: np.ndarray) -> np.ndarray:
        values_R = resampled(hits)  # 5,000 accuracies, then bootstrap their mean
        return np.array([rng.choice(values_R, 5000).mean() for _ in range(1000)])

    labels_N = np.arange(624) % 2
    right = np.stack([hits_N == (labels_N == 0), hits_N == (labels_N == 1)], axis=1) * 1.0
    item = Predictions(labels_N, np.arange(624), right)
    counts = Counts.of(labels_N, np.arange(624), 2)
    ours = interval("accuracy", estimate([item] * 3)["accuracy"], counts)
    exact = binomtest(int(hits_N.sum()), 624).proportion_ci(method="wilson")
    print("\n| interval | low | high | width | holds the truth |\n|---|---|---|---|---|")
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "of the mean of the bootstrapped metrics": of_the_mean,
        "of the bootstrapped metrics": resampled,
    }
    for name, way in ways.items():
        low, high = np.percentile(way(hits_N), [2.5, 97.5])
        held = []
        for _ in range(200):
            drawn = np.arange(624) < rng.binomial(624, 0.84)
            bounds = np.percentile(way(drawn), [2.5, 97.5])
            held.append(bounds[0] <= 0.84 <= bounds[1])
        print(f"| {name} | {low:.4f} | {high:.4f} | {high - low:.4f} | {np.mean(held):.0%} |")
    for name, low, high in (("score type (sweep)", ours.low, ours.high),
                            ("Wilson, in closed form", exact.low, exact.high)):  # fmt: skip
        print(f"| {name} | {low:.4f} | {high:.4f} | {high - low:.4f} | |")


def splits() -> None:
    """Split by image and by patient, 40 times each; score the same probe."""
    print("\n| data set | images | patients | AUROC, split by image | by patient | too good by "
          "| SD over splits |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for dataset in (NIH, "lgg_mri", "chest_xray"):
        backbone, found = opened(dataset, MODELS[0], 128)
        features_ND = open_features(backbone, found.store, default_cache(), CPU)
        rows = np.arange(len(found.manifest))
        features, labels_N = features_ND.rows(rows).numpy(), found.labels
        groups_N = np.unique(found.manifest.groups, return_inverse=True)[1]
        by_image, by_patient = (
            np.array([probed(features, labels_N, *parts) for parts in way])
            for way in (
                ShuffleSplit(40, test_size=0.2, random_state=0).split(rows),
                GroupShuffleSplit(40, test_size=0.2, random_state=0).split(rows, None, groups_N),
            )
        )
        gap = by_image.mean() - by_patient.mean()
        spread = np.hypot(by_image.std(ddof=1), by_patient.std(ddof=1))
        name = dataset if isinstance(dataset, str) else dataset["name"]
        print(f"| {name} | {len(rows)} | {groups_N.max() + 1} | {by_image.mean():.3f} | "
              f"{by_patient.mean():.3f} | {gap:+.3f} | {spread:.3f} |")  # fmt: skip


def probed(features_ND, labels_N, train, test) -> float:  # type: ignore[no-untyped-def]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.01))
    probe.fit(features_ND[train], labels_N[train])
    return float(roc_auc_score(labels_N[test], probe.predict_proba(features_ND[test])[:, 1]))


def rates() -> None:
    """Train a probe of each model at the study's rate and at 16, chosen by validation."""
    tried = [Trial(0, {"learning_rate": STUDYS_RATE})]
    tried += [Trial(i + 1, {"learning_rate": 10 ** (-5 + 4 * i / 15)}) for i in range(16)]
    print("\n| data set | model | test AUROC at 1e-4 | at its own rate | its rate | differs by |")
    print("|---|---|---|---|---|---|")
    for dataset in (NIH, "brain_mri", "chest_xray"):
        for model in MODELS:
            backbone, found = opened(dataset, model, 128)
            cached = open_features(backbone, found.store, default_cache(), CPU)
            rows = {split: found.rows(split) for split in SPLITS}
            labels = {s: torch.from_numpy(found.labels[rows[s]]) for s in SPLITS}
            inputs = {split: cached.rows(rows[split]) for split in SPLITS}
            classes = len(found.classes)

            def trained(
                chosen: list[Trial],
                backbone: Backbone = backbone,
                inputs: dict[str, torch.Tensor] = inputs,
                labels: dict[str, torch.Tensor] = labels,
                classes: int = classes,
            ) -> BatchedLinearProbe:
                task = Task(backbone, labels, classes, Recipe(), 100, "auroc", 1, CPU)
                wave = BatchedLinearProbe(task, inputs, chosen)
                while wave.epoch < 100:
                    wave.train_epoch()
                return wave

            best = trained(tried).best
            own = max(tried, key=lambda rate: best[rate.number].value)
            scores = [
                score(labels["test"].numpy(), trained([rate]).probabilities("test"))["auroc"]
                for rate in (tried[0], own)
            ]
            name = dataset if isinstance(dataset, str) else dataset["name"]
            print(f"| {name} | {model['name']} | {scores[0]:.3f} | {scores[1]:.3f} | "
                  f"{own.learning_rate:.2g} | {scores[1] - scores[0]:+.3f} |")  # fmt: skip


@dataclass(frozen=True)
class Way:
    """How an epoch is run."""

    name: str
    order: str = "anew"
    trains_on: bool = True


WAYS = (
    Way("a new order in each epoch, in train mode"),
    Way("a new order in each epoch, in eval mode after the first", trains_on=False),
    Way("one random order for all epochs, in train mode", order="once"),
    Way("one random order, in eval mode after the first (public code)", "once", trains_on=False),
    Way("sorted by class, in train mode (nobody's)", order="sorted"),
)
EPOCHS, SEEDS, BATCH, SIZE = 6, 3, 32, 64


def loops() -> None:
    """Fine-tune a whole network in each way, at the study's rate, with three seeds."""
    keep_freed_memory()
    backbone, found = opened(NIH, MODELS[0], SIZE)
    rows = {split: found.rows(split) for split in SPLITS}
    rows["train"] = rows["train"][np.argsort(found.labels[rows["train"]], kind="stable")]
    pixels = {s: torch.from_numpy(found.store.rows(rows[s])) for s in SPLITS}
    labels = {s: torch.from_numpy(found.labels[rows[s]]) for s in SPLITS}
    print(f"\n| {len(rows['train'])} images, {EPOCHS} epochs | test AUROC, {SEEDS} seeds | "
          "accuracy | training loss at the end |\n|---|---|---|---|")  # fmt: skip
    for way in WAYS:
        results = [fine_tuned(way, backbone, pixels, labels, seed) for seed in range(SEEDS)]
        aurocs, accuracies, losses = np.array(results).T
        print(f"| {way.name} | {aurocs.mean():.3f} ({', '.join(f'{v:.3f}' for v in aurocs)}) | "
              f"{accuracies.mean():.3f} | {losses.mean():.3f} |")  # fmt: skip


def fine_tuned(way, backbone, pixels, labels, seed):  # type: ignore[no-untyped-def]
    """Return test AUROC and accuracy of the epoch that validates best, and the last loss."""
    network = backbone.network(2, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=STUDYS_RATE)
    rng, best = np.random.default_rng(seed), (-1.0, 0.0, 0.0)
    count = len(labels["train"])
    orders = [rng.permutation(count) for _ in range(EPOCHS)]
    if way.order == "sorted":
        orders[0] = np.arange(count)
    for epoch in range(EPOCHS):
        network.train(way.trains_on or epoch == 0)
        losses = []
        for batch in batches(orders[0 if way.order != "anew" else epoch]):
            images = normalise(pixels["train"][batch], backbone.preprocessing)
            loss = cross_entropy(network(images), labels["train"][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        network.eval()
        value = tested(network, backbone, pixels, labels, "val")["auroc"]
        if value > best[0]:
            scores = tested(network, backbone, pixels, labels, "test")
            best = (value, scores["auroc"], scores["accuracy"])
    return best[1], best[2], float(np.mean(losses))


def batches(order: np.ndarray) -> Iterator[torch.Tensor]:
    yield from torch.from_numpy(order).split(BATCH)


@torch.inference_mode()
def tested(network, backbone, pixels, labels, split):  # type: ignore[no-untyped-def]
    parts = [network(normalise(part, backbone.preprocessing)) for part in pixels[split].split(64)]
    return score(labels[split].numpy(), torch.cat(parts).double().softmax(1).numpy())


PARTS = {"intervals": intervals, "splits": splits, "rates": rates, "loops": loops}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS)
    chosen = parser.parse_args().only
    print(describe())
    for name, part in PARTS.items():
        if chosen in (None, name):
            part()


if __name__ == "__main__":
    main()
