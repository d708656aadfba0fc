"""Heads on the same frozen features, against scikit-learn's LogisticRegressionCV.

For each data set at hand the features of EfficientNet-Lite0, and heads that the validation split
chooses, each on several partitions: 16 learning rates x 100 epochs (`frozen`, with the recipes
`study` and `modern`, and with the weight decay searched), 16 values of C (`logreg`, plain and with
balanced class weights), kNN, prototypes. All but those of `study` are calibrated on the validation
split, as a confirmation is. LogisticRegressionCV has the same standardised features, training and
validation samples together, and chooses by 5 folds of groups.

The goal: the best of ours has a test AUROC and a balanced accuracy of at least those of
LogisticRegressionCV less 0.003, and an ECE not above it. The script ends with 1 where a data set
misses it.

    SWEEP_DATA=... python benchmarks/heads.py [--size 96] [--partitions 3] [NAME ...]
"""

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import data_root, describe, lite0
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sweep.backbones.backbone import load_backbone
from sweep.data.dataset import Dataset, DatasetView, open_dataset
from sweep.data.manifest import SPLITS
from sweep.space.domains import Categorical, Range
from sweep.space.freeze import freeze_mode
from sweep.space.model import LearningRate
from sweep.space.recipe import Recipe, Split
from sweep.space.specs import DatasetSpec
from sweep.train.calibration import fit_temperature, with_temperature
from sweep.train.features import open_features
from sweep.train.heads import head_of
from sweep.train.learner import Task, Trial, chosen
from sweep.train.metrics import score

TRIALS, EPOCHS = 16, 100
METRICS = ("auroc", "balanced_accuracy", "ece")
SETS: dict[str, dict[str, str]] = {
    "brain_mri": {}, "chest_xray": {}, "ham10000": {}, "ichallenge_pm": {}, "lgg_mri": {},
    "nih": {"layout": "folder", "path": "nih_chest_xray", "group": r"^(\d+)_"},
    "pneumonia": {"layout": "medmnist", "path": "pneumoniamnist.npz"},
}  # fmt: skip
# Each line: its name, the freeze mode, what the recipe says besides.
LINES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("prototypes", "prototypes", {}),
    ("knn", "knn", {}),
    ("frozen, study", "frozen", {"preset": "study"}),
    ("frozen, standardised", "frozen", {"preset": "study", "standardize": True}),
    ("frozen", "frozen", {}),
    ("frozen, weight decay", "frozen", {"search": ("weight_decay",)}),
    ("logreg", "logreg", {}),
    ("logreg, balanced", "logreg", {"class_weights": "balanced"}),
)


def params_of(mode: str, more: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return 16 choices that are spread over the domains of a mode."""
    domains = dict(freeze_mode(mode)[0].domains) or {
        "learning_rate": LearningRate(low=1e-5, high=1e-1)
    }
    domains |= {name: Range(low=1e-5, high=1.0) for name in more}
    found = []
    for number in range(TRIALS):
        place, params = (number + 0.5) / TRIALS, {}
        for step, (name, domain) in enumerate(domains.items()):
            own = (place * (1 + 4 * step)) % 1
            if isinstance(domain, Categorical):
                params[name] = domain.root[int(own * len(domain.root))]
            else:
                params[name] = domain.at(own)
        found.append(params)
    return found


def ours(mode: str, more: dict[str, Any], task: dict[str, Any], inputs: dict[str, Any]) -> Any:
    """Return the test probabilities (N, C) of what the validation split chooses."""
    epochs = freeze_mode(mode)[0].epochs or EPOCHS
    own = {"preset": "modern", **{key: item for key, item in more.items() if key != "search"}}
    recipe = Recipe.model_validate(own).for_frozen()
    made = Task(recipe=recipe, epochs=epochs, **task)
    choices = params_of(mode, more.get("search", ()))
    trials = [Trial(number, params) for number, params in enumerate(choices)]
    learner = head_of(mode)(made, inputs, trials)
    while learner.epoch < epochs:
        learner.train_epoch()
    best = chosen(learner)
    learner.drop([number for number in learner.active if number != best])
    if recipe.calibration == "none":
        return learner.probabilities("test")
    labels = task["labels"]["val"].numpy()
    temperature = fit_temperature(labels, learner.probabilities("val"))
    return with_temperature(learner.probabilities("test"), temperature)


def theirs(inputs: dict[str, Any], labels: dict[str, Any], groups: Any) -> Any:
    """Return the test probabilities of LogisticRegressionCV."""
    features = np.concatenate([inputs["train"], inputs["val"]]).astype(np.float64)
    targets = np.concatenate([labels["train"], labels["val"]])
    folds = list(GroupKFold(5, shuffle=True, random_state=0).split(features, targets, groups))
    model = LogisticRegressionCV(
        Cs=10, cv=folds, scoring="neg_log_loss", max_iter=1000, use_legacy_attributes=False,
        l1_ratios=(0,),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = make_pipeline(StandardScaler(), model).fit(features, targets)
    return pipeline.predict_proba(inputs["test"].numpy().astype(np.float64))


def partition(dataset: Dataset, backbone: Any, number: int, cache: Path) -> dict[str, Any]:
    """Return scores and seconds of every line on one partition."""
    rows = {split: dataset.rows(split) for split in SPLITS}
    labels = {split: torch.from_numpy(dataset.labels[own]) for split, own in rows.items()}
    features = open_features(backbone, dataset.store, cache, torch.device("cpu"))
    inputs = {split: features.rows(own) for split, own in rows.items()}
    task = {
        "backbone": backbone, "labels": labels, "classes": len(dataset.classes),
        "objective": "auroc", "seed": number, "device": torch.device("cpu"),
    }  # fmt: skip
    groups = np.asarray(dataset.manifest.groups)[np.concatenate([rows["train"], rows["val"]])]
    runs = {name: (lambda m=m, more=more: ours(m, more, task, inputs)) for name, m, more in LINES}
    runs["LogisticRegressionCV"] = lambda: theirs(inputs, labels, groups)
    found = {}
    for name, run in runs.items():
        began = time.perf_counter()
        probabilities = run()
        seconds = time.perf_counter() - began
        scores = score(labels["test"].numpy(), probabilities)
        found[name] = {**{metric: scores[metric] for metric in METRICS}, "seconds": seconds}
    return found


def main() -> None:
    """Print a table of each data set, and whether it meets the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--partitions", type=int, default=3)
    parser.add_argument("names", nargs="*", default=list(SETS))
    options = parser.parse_args()
    print(describe())
    backbone = load_backbone(lite0(), options.size, None)
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names:
            entry: Any = {"name": name, **SETS[name]} if SETS[name] else name
            spec = DatasetSpec.model_validate(entry).model_copy(update={"leaks": "drop"})
            results = []
            for number in range(options.partitions):
                view = DatasetView(
                    spec, Split(), options.size, backbone.preprocessing.interpolation,
                    partition=number,
                )  # fmt: skip
                dataset = open_dataset(view, data_root(), Path(folder))
                results.append(partition(dataset, backbone, number, Path(folder)))
            means = {
                line: {k: statistics.mean(r[line][k] for r in results) for k in results[0][line]}
                for line in results[0]
            }
            print(f"\n{name}\n| head | AUROC | balanced accuracy | ECE | seconds |")
            print("|---|---|---|---|---|")
            for line, of in means.items():
                numbers = " | ".join(f"{of[metric]:.4f}" for metric in METRICS)
                print(f"| {line} | {numbers} | {of['seconds']:.1f} |", flush=True)
            other = means.pop("LogisticRegressionCV")
            best = {metric: max(of[metric] for of in means.values()) for metric in METRICS[:2]}
            top = max(means.values(), key=lambda of: of["auroc"])
            short = [metric for metric in best if best[metric] < other[metric] - 0.003]
            if top["ece"] > other["ece"]:
                short.append("ece")
            missed += [f"{name}: {', '.join(short)}"] if short else []
    print("\nmissed: " + ("; ".join(missed) or "nothing"))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
