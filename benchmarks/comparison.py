"""Every interval and test of 72 cells, against the original study's loop for the same intervals.

72 cells (6 data sets x 12) of 2,000 simulated test samples, 10 confirmations: all 13 metrics with
intervals, all 396 pairs with their verdicts and what each loses in other metrics. The study's loop
draws samples and calls scikit-learn 5,000 times a metric and model; it is run for a few resamples
of one model and extrapolated, with the study's four metrics and with all 13.

    python benchmarks/comparison.py [--classes 2]
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from machine import describe
from sklearn import metrics as sk

sys.path.insert(0, str(Path(__file__).parents[1]))

from sweep.comparison.comparison import Choices, compare
from sweep.train.metrics import calibration_gaps
from tests.simulated import classifier, sweep_of

DATASETS, SAMPLES, RESAMPLES, LOOPS = 6, 2000, 5000, 40
BACKBONES = ("small", "large", "other", "vit_s", "vit_b", "vit_l")
CELLS, SEEDS = DATASETS * len(BACKBONES) * 2, 10


def grid(classes: int):  # type: ignore[no-untyped-def]
    datasets = [{"name": f"set_{i}", "layout": "folder", "path": "x"} for i in range(DATASETS)]
    backbones = [{"name": name, "model": "resnet18", "weights": "none"} for name in BACKBONES]
    aurocs = {f"{name}/{m}": 0.7 + 0.03 * i for i, name in enumerate(BACKBONES)
              for m in ("frozen", "full")}  # fmt: skip
    return sweep_of(
        aurocs, samples=SAMPLES, shared=0.3, classes=classes, datasets=datasets,
        backbones=backbones, seeds=SEEDS,
    )  # fmt: skip


def ours(classes: int) -> float:
    sweep = grid(classes)
    for cell in sweep.cells:
        cell.predictions()
    began = time.perf_counter()
    comparison = compare([sweep], Choices("auroc"))
    intervals = sum(len(row.metrics) for row in comparison.rows)
    pairs = sum(len(found) for found in comparison.pairs.values())
    seconds = time.perf_counter() - began
    assert (intervals, pairs) == (CELLS * 13, DATASETS * 66)
    return seconds


def studys_four(labels, probabilities) -> None:  # type: ignore[no-untyped-def]
    predicted = probabilities.argmax(axis=1)
    sk.accuracy_score(labels, predicted)
    sk.precision_score(labels, predicted, average="weighted", zero_division=0)
    sk.recall_score(labels, predicted, average="weighted", zero_division=0)
    sk.f1_score(labels, predicted, average="weighted", zero_division=0)


def all_thirteen(labels, probabilities) -> None:  # type: ignore[no-untyped-def]
    studys_four(labels, probabilities)
    predicted = probabilities.argmax(axis=1)
    classes = probabilities.shape[1]
    scores = probabilities[:, 1] if classes == 2 else probabilities
    one_hot = labels if classes == 2 else np.eye(classes)[labels]
    sk.roc_auc_score(labels, scores, multi_class="ovr")
    sk.average_precision_score(one_hot, scores)
    sk.balanced_accuracy_score(labels, predicted)
    for metric in (sk.precision_score, sk.recall_score, sk.f1_score):
        metric(labels, predicted, average="macro", zero_division=0)
    sk.matthews_corrcoef(labels, predicted)
    sk.brier_score_loss(labels, probabilities, labels=np.arange(classes))
    gaps, bins = calibration_gaps(labels, probabilities)  # scikit-learn has none
    np.abs(np.bincount(bins, weights=gaps)).sum()


def loop(work, classes: int) -> float:  # type: ignore[no-untyped-def]
    """Return the seconds of RESAMPLES resamples of every model of every cell, extrapolated."""
    item, rng = classifier(SAMPLES, 0.8, 0, classes=classes), np.random.default_rng(0)
    began = time.perf_counter()
    for _ in range(LOOPS):
        drawn = rng.integers(0, SAMPLES, SAMPLES)
        work(item.labels_N[drawn], item.probabilities_NC[drawn])
    return (time.perf_counter() - began) / LOOPS * RESAMPLES * SEEDS * CELLS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=2)
    classes = parser.parse_args().classes
    print(describe())
    spent = ours(classes)
    print(f"{CELLS} cells, {SAMPLES} samples, {classes} classes, {SEEDS} confirmations")
    print(f"all intervals and pairs        {spent:10.1f} s")
    for name, work in (("the study's four metrics", studys_four), ("all 13", all_thirteen)):
        seconds = loop(work, classes)
        print(f"loop, {name:24} {seconds:10.0f} s (extrapolated), {seconds / spent:.0f} x")


if __name__ == "__main__":
    main()
