"""Is a sentence of `sweep` wrong more often than it says? Simulation, A/A, and held-out truth.

(a) Simulated classifiers whose AUROC is known: false "better", false "equivalent", coverage of
    intervals, power; with and without noise of training, groups of 5, three classes.
(b) The same backbone against itself on real features, by the whole procedure of the product: a
    search, then confirmations that repeat the choice; every pair of runs that is called different
    at p < 0.05 is a false claim. Beside it the field's habit: one run each, a paired bootstrap.
(c) Two backbones against the truth of a large held-out part of a data set.

    SWEEP_DATA=... SWEEP_WEIGHTS=... python benchmarks/claims.py            (about 40 minutes)
    ... python benchmarks/claims.py --quick --json                           (under 5 minutes)

Exits with 1 if a goal is missed by more than two of its Monte Carlo errors.
"""

import argparse
import itertools
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from machine import data_root, describe, weights_dir
from scipy.special import ndtri

from sweep.backbones.backbone import Backbone, load_backbone
from sweep.base.settings import default_cache
from sweep.comparison.stats.difference import can_be_equivalent, weighted_sum
from sweep.comparison.stats.intervals import Counts, interval
from sweep.comparison.stats.sampling import MetricEstimate, sampled_metric
from sweep.data.dataset import DatasetView, open_dataset
from sweep.data.manifest import SPLITS
from sweep.records.predictions import Predictions
from sweep.space.backbone import BackboneSpec
from sweep.space.recipe import Recipe, Split
from sweep.space.specs import DatasetSpec
from sweep.train.features import open_features
from sweep.train.learner import Task, Trial, chosen
from sweep.train.metrics import score
from sweep.train.metrics.auroc import AUROC, midranks
from sweep.train.metrics.base import WeightedPredictions
from sweep.train.probe import BatchedLinearProbe

CPU = torch.device("cpu")
NIH = {"name": "nih", "layout": "folder", "path": "nih_chest_xray", "group": r"^(\d+)_"}
PNEUMONIA = {"name": "pneumonia", "layout": "medmnist", "path": "pneumoniamnist.npz"}
SETS = (NIH, "ham10000", PNEUMONIA, "brain_mri", "chest_xray", "lgg_mri")
RATES, EPOCHS, CONFIRMATIONS = 8, 10, 10
CEILING = 0.99  # a set above it cannot fail
FEW_GROUPS = 10  # of the rarest class: with fewer a note stands by the intervals
MARGINS = (0.01, 0.05)
GOALS = {"aa": (0.06, 0.10), "null": 0.06, "coverage": 0.93, "equivalence": 0.06, "power": 0.87}


# (a) simulation -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One kind of test split and classifier.

    Attributes:
        noise: standard deviation of the AUROC from training to training.
        group: samples of one group, which are of one class and alike.
    """

    samples: int
    prevalence: float
    auroc: float
    noise: float = 0.0
    group: int = 1
    classes: int = 2
    confirmations: int = 10

    @property
    def rarest(self) -> int:
        """Groups of the rarest class."""
        share = self.prevalence if self.classes == 2 else 1 / self.classes
        return round(share * self.samples / self.group)

    def __str__(self) -> str:
        more = f", groups of {self.group}" if self.group > 1 else ""
        more += f", {self.classes} classes" if self.classes > 2 else ""
        return (
            f"n {self.samples}, {self.prevalence:.0%}, AUROC {self.auroc:g}, noise "
            f"{self.noise:g}{more}"
        )


def settings(classes: tuple[int, ...] = (2, 3)) -> Iterator[Setting]:
    aurocs = (0.80, 0.98, 0.995)
    for n, prevalence, auroc in itertools.product((30, 60, 150, 600), (0.5, 0.05), aurocs):
        for noise in (0.0, 0.003 if auroc > 0.99 else 0.01):
            yield Setting(n, prevalence, auroc, noise)
    yield from (Setting(600, 0.008, auroc, 0.0) for auroc in aurocs)  # five positives
    for n, auroc in itertools.product((150, 600), aurocs):
        yield Setting(n, 0.5, auroc, group=5)
        if 3 in classes:
            yield Setting(n, 1 / 3, auroc, noise=0.003, classes=3)


def draw(rng: np.random.Generator, setting: Setting, *aurocs: float) -> list[list[Predictions]]:
    """Return the confirmations of cells with these AUROCs, on one test split.

    Scores are normal; four fifths of their variance are the sample's, shared by all cells.
    """
    count = setting.samples // setting.group
    if setting.classes > 2:
        label_G = np.arange(count) % setting.classes
    else:
        label_G = (np.arange(count) < max(2, round(setting.prevalence * count))).astype(np.int64)
    labels_N = np.repeat(label_G, setting.group)
    groups_N = np.repeat(np.arange(count), setting.group)
    shape = (len(labels_N), setting.classes)
    shared = _grouped(rng, setting, shape)
    cells = []
    one_hot_NC = np.eye(setting.classes)[labels_N]
    slope = np.exp(-(ndtri(setting.auroc) ** 2) / 2) / np.sqrt(2 * np.pi)  # of the AUROC
    for auroc in aurocs:
        own = rng.normal(size=shape)
        cell = []
        for _ in range(setting.confirmations if setting.noise else 1):
            signal = ndtri(auroc) + (rng.normal() * setting.noise / slope if setting.noise else 0)
            fresh = rng.normal(size=shape) if setting.noise else own
            rest = np.sqrt(0.8) * own + np.sqrt(0.2) * fresh if setting.noise else own
            logits = signal * one_hot_NC + np.sqrt(0.8) * shared + np.sqrt(0.2) * rest
            exp_NC = np.exp(2 * (logits - logits.max(axis=1, keepdims=True)))
            cell.append(Predictions(labels_N, groups_N, exp_NC / exp_NC.sum(axis=1, keepdims=True)))
        cells.append(cell if setting.noise else cell * 3)
    return cells


def _grouped(rng: np.random.Generator, setting: Setting, shape: tuple[int, int]) -> np.ndarray:
    alone = rng.normal(size=shape)
    if setting.group == 1:
        return alone
    together = np.repeat(rng.normal(size=(shape[0] // setting.group, shape[1])), setting.group, 0)
    return np.sqrt(0.5) * alone + np.sqrt(0.5) * together


def auroc_of(cell: list[Predictions]) -> MetricEstimate:
    """Return the AUROC of a cell as the product has it, without its other metrics."""
    found = []
    for item in cell if cell[0] is not cell[-1] else cell[:1]:
        scores_NC, labels_N = item.probabilities_NC, item.labels_N
        sides = range(1, 2) if scores_NC.shape[1] == 2 else range(scores_NC.shape[1])
        area = np.mean([roc_auc(labels_N == c, scores_NC[:, c]) for c in sides])
        given = WeightedPredictions.of_weight_1(labels_N, scores_NC[None])
        found.append((float(area), AUROC().influences(given)))
    found *= len(cell) // len(found)
    values, influences = (list(column) for column in zip(*found, strict=True))
    return sampled_metric("auroc", cell[0], values, influences, values)


def roc_auc(positive_N: np.ndarray, scores_N: np.ndarray) -> float:
    count = positive_N.sum()
    ranks = midranks(scores_N)[positive_N].sum()
    return float((ranks - count * (count + 1) / 2) / (count * (len(positive_N) - count)))


def covered(cell: list[Predictions], truth: float) -> bool:
    first = cell[0]
    counts = Counts.of(first.labels_N, first.groups_N, first.probabilities_NC.shape[1])
    found = interval("auroc", auroc_of(cell), counts)
    return found.low <= truth <= found.high


@lru_cache
def limit(setting: Setting) -> float:
    """Return the AUROC in the limit of many samples; of two classes it is what was asked for."""
    if setting.classes == 2:
        return setting.auroc
    large = replace(setting, samples=60_000, noise=0.0, group=1)
    (cell,) = draw(np.random.default_rng(1), large, setting.auroc)
    return score(cell[0].labels_N, cell[0].probabilities_NC)["auroc"]


def simulate(repeats: int) -> dict[str, object]:
    """Measure false claims, coverage and power; print a line for each setting."""
    rows: dict[str, dict[str, float]] = {}
    for setting in settings():
        if setting.rarest < 2:
            continue
        rng = np.random.default_rng([7, setting.samples, int(1e4 * setting.auroc), setting.group])
        truth, false, held = setting.auroc, [], []
        alike: dict[float, list[bool]] = {margin: [] for margin in MARGINS}
        found: list[bool] = []
        for _ in range(repeats):
            first, second = draw(rng, setting, truth, truth)
            one, two = auroc_of(first), auroc_of(second)
            false.append(weighted_sum([(1, one), (-1, two)]).p < 0.05)
            held.append(covered(first, limit(setting)))
            found.append(weighted_sum([(1, one), (-1, two)]).equivalent(MARGINS[-1]) < 0.05)
            for margin in MARGINS:
                if can_be_equivalent(one.grain, margin):
                    at_it = [auroc_of(c) for c in draw(rng, setting, truth, truth - margin)]
                    gap = weighted_sum([(1, at_it[0]), (-1, at_it[1])])
                    alike[margin].append(gap.equivalent(margin) < 0.05)
        rows[str(setting)] = {
            "null": float(np.mean(false)),
            "coverage": float(np.mean(held)) if setting.rarest >= FEW_GROUPS else float("nan"),
            "equivalence": max((float(np.mean(v)) for v in alike.values() if v), default=0.0),
            "equivalence_found": float(np.mean(found)),
        }
        say(f"  {setting}: " + ", ".join(f"{k} {v:.3f}" for k, v in rows[str(setting)].items()))
    return {
        "null": _extreme(rows, "null", max),
        "coverage": {
            "low": float(np.nanmin([row["coverage"] for row in rows.values()])),
            "high": float(np.nanmax([row["coverage"] for row in rows.values()])),
        },
        "equivalence": _extreme(rows, "equivalence", max),
        "power": power(repeats),
        "repeats": repeats,
        "settings": {
            name: {key: None if np.isnan(value) else value for key, value in row.items()}
            for name, row in rows.items()
        },
    }


def _extreme(rows: dict[str, dict[str, float]], name: str, choose: object) -> dict[str, object]:
    where = choose(rows, key=lambda row: rows[row][name])  # type: ignore[operator]
    return {"worst": rows[where][name], "where": where}


def power(repeats: int) -> dict[str, float]:
    """Return how often .85 is told from .80 at n = 600, by confirmations and noise."""
    found = {}
    for count, noise in ((3, 0.0), (3, 0.01), (5, 0.01), (10, 0.01)):
        rng = np.random.default_rng(11)
        setting = Setting(600, 0.5, 0.85, noise, confirmations=count)
        told = []
        for _ in range(repeats):
            first, second = (auroc_of(cell) for cell in draw(rng, setting, 0.85, 0.80))
            told.append(weighted_sum([(1, first), (-1, second)]).p < 0.05)
        name = "without noise" if not noise else f"{count} confirmations"
        found[name] = float(np.mean(told))
    say(
        "  power, .85 against .80 at n = 600: "
        + ", ".join(f"{k} {v:.3f}" for k, v in found.items())
    )
    return found


# (b) the same backbone against itself -------------------------------------------------------


@dataclass(frozen=True)
class Cached:
    """Features of a backbone for a data set, and how it is split."""

    backbone: Backbone
    spec: DatasetSpec
    rows_ND: torch.Tensor

    def partition(self, number: int) -> object:
        interpolation = self.backbone.preprocessing.interpolation
        view = DatasetView(self.spec, Split(), 64, interpolation, partition=number)
        return open_dataset(view, data_root())


def cached(model: str, entry: object) -> Cached:
    weights = f"tf_efficientnet_{model}.in1k.safetensors"
    spec = {"name": model, "model": f"tf_efficientnet_{model}", "weights": weights}
    backbone = load_backbone(BackboneSpec.model_validate(spec), 64, weights_dir())
    described = DatasetSpec.model_validate(entry).model_copy(update={"leaks": "drop"})
    view = DatasetView(described, Split(), 64, backbone.preprocessing.interpolation)
    dataset = open_dataset(view, data_root())
    features = open_features(backbone, dataset.store, default_cache(), CPU)
    return Cached(backbone, described, features.rows(np.arange(len(dataset.store))))


def trained(
    source: Cached, parts: dict[str, np.ndarray], labels_N: np.ndarray, rates: np.ndarray, seed: int
) -> tuple[BatchedLinearProbe, dict[float, float]]:
    """Train all rates as a confirmation does; return the wave, and each rate's best score."""
    members = [Trial(number, {"learning_rate": float(rate)}) for number, rate in enumerate(rates)]
    features = {name: source.rows_ND[rows] for name, rows in parts.items()}
    labels = {name: torch.from_numpy(labels_N[rows]) for name, rows in parts.items()}
    classes = int(labels_N.max()) + 1
    task = Task(source.backbone, labels, classes, Recipe(), EPOCHS, "auroc", seed, CPU)
    wave = BatchedLinearProbe(task, features, members)
    for _ in range(EPOCHS):
        wave.train_epoch()
    return wave, {member.learning_rate: wave.best[member.number].value for member in members}


def tested(wave: BatchedLinearProbe, split: str = "test") -> np.ndarray:
    """Return the probabilities of what validation chose."""
    best = chosen(wave)
    wave.drop([number for number in wave.active if number != best])
    return wave.probabilities(split)


def whole_procedure(source: Cached, run: int) -> list[Predictions]:
    """Search and confirm once, as the product does for a frozen cell; partitions of its own."""
    rng = np.random.default_rng([3, run])
    places = (rng.permutation(RATES) + rng.random(RATES)) / RATES
    rates = np.exp(np.log(1e-5) + np.log(1e4) * places)
    found = []
    for index in range(CONFIRMATIONS):
        dataset = source.partition(1 + run * CONFIRMATIONS + index)
        parts = {split: dataset.rows(split) for split in SPLITS}
        wave, _ = trained(source, parts, dataset.labels, rates, 1000 * run + index)
        rows = parts["test"]
        groups_N = np.unique([dataset.clusters[row] for row in rows], return_inverse=True)[1]
        found.append(Predictions(dataset.labels[rows], groups_N, tested(wave)))
    return found


def against_itself(runs: int) -> dict[str, object]:
    """Compare every two runs of one backbone; print and return the shares called different."""
    by_set: dict[str, dict[str, float]] = {}
    for entry in SETS:
        source = cached("lite0", entry)
        cells = [whole_procedure(source, run) for run in range(runs)]
        areas = [auroc_of(cell) for cell in cells]
        called = np.zeros((runs, runs), dtype=bool)
        habit = np.zeros((runs, runs), dtype=bool)
        singles = [bootstrapped(cell[0]) for cell in cells]
        for a, b in itertools.combinations(range(runs), 2):
            called[a, b] = called[b, a] = weighted_sum([(1, areas[a]), (-1, areas[b])]).p < 0.05
            low, high = np.nanquantile(singles[a] - singles[b], [0.025, 0.975])
            habit[a, b] = habit[b, a] = low > 0 or high < 0
        name = source.spec.name
        by_set[name] = {
            "auroc": float(np.mean([item.point for item in areas])),
            "spread": float(np.mean([item.spread for item in areas])),
            "different": share_of_pairs(called),
            "error": jackknife(called),
            "habit": share_of_pairs(habit),
        }
        say(f"  {name}: " + ", ".join(f"{k} {v:.4f}" for k, v in by_set[name].items()))
    below = [item for item in by_set.values() if item["auroc"] < CEILING]
    return {
        "overall": float(np.mean([item["different"] for item in below])),
        "error": float(np.sqrt(np.sum([item["error"] ** 2 for item in below])) / len(below)),
        "worst": max(item["different"] for item in below),
        "worst_error": max(below, key=lambda item: item["different"])["error"],
        "habit": float(np.mean([item["habit"] for item in below])),
        "runs": runs,
        "sets": by_set,
    }


def bootstrapped(item: Predictions, resamples: int = 400) -> np.ndarray:
    """Return the AUROC in resamples of the test samples, the same for every run of a set."""
    rng = np.random.default_rng(5)
    count = len(item.labels_N)
    values = []
    for _ in range(resamples):
        rows = rng.integers(0, count, count)
        values.append(score(item.labels_N[rows], item.probabilities_NC[rows])["auroc"])
    return np.array(values)


def share_of_pairs(called: np.ndarray) -> float:
    runs = len(called)
    return float(called.sum() / (runs * (runs - 1)))


def jackknife(called: np.ndarray) -> float:
    """Return the Monte Carlo error of a share of pairs, leaving each run out in turn."""
    runs = len(called)
    without = [share_of_pairs(np.delete(np.delete(called, i, 0), i, 1)) for i in range(runs)]
    return float(np.sqrt((runs - 1) / runs * np.sum((without - np.mean(without)) ** 2)))


# (c) two backbones against held-out truth ----------------------------------------------------


def held_out(draws: int) -> dict[str, object]:
    """Compare lite0 and lite2 on small test splits; hold verdicts against a large held-out part."""
    sources = [cached(model, PNEUMONIA) for model in ("lite0", "lite2")]
    labels_N = sources[0].partition(0).labels
    right = wrong = inside = 0
    for number in range(draws):
        rng = np.random.default_rng([13, number])
        order = rng.permutation(len(labels_N))
        pool, test, truth = np.split(order[: 900 + 2500], [600, 900])
        estimates, truths = [], []
        for place, source in enumerate(sources):
            cell, large = [], []
            for index in range(CONFIRMATIONS):
                cut = np.random.default_rng([17, number, index]).permutation(pool)
                parts = {"train": cut[:450], "val": cut[450:], "test": test, "truth": truth}
                rates = np.geomspace(1e-4, 3e-2, RATES)
                wave, _ = trained(source, parts, labels_N, rates, 100 * index + place)
                cell.append(Predictions(labels_N[test], np.arange(300), tested(wave)))
                large.append(score(labels_N[truth], wave.probabilities("truth"))["auroc"])
            estimates.append(auroc_of(cell))
            truths.append(np.mean(large))
        gap = weighted_sum([(1, estimates[0]), (-1, estimates[1])])
        true, ends = truths[0] - truths[1], gap.interval()
        if gap.p < 0.05:
            right += np.sign(gap.point) == np.sign(true)
            wrong += np.sign(gap.point) != np.sign(true)
        inside += ends.low <= true <= ends.high
    found = {"draws": draws, "right": int(right), "wrong": int(wrong), "coverage": inside / draws}
    say(f"  lite0 against lite2, 300 test images, held-out 2,500: {found}")
    return found


# all of it -----------------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def missed(found: dict) -> list[str]:  # type: ignore[type-arg]
    """Return the goals that were missed by more than two Monte Carlo errors."""
    repeats = found["repeats"]

    def slack(share: float) -> float:
        return float(2 * np.sqrt(share * (1 - share) / repeats))

    checks = {
        f"false claims {found['null']}": found["null"]["worst"] <= 0.06 + slack(0.06),
        f"coverage {found['coverage']}": found["coverage"]["low"] >= 0.93 - slack(0.93),
        f"equivalence {found['equivalence']}": found["equivalence"]["worst"] <= 0.06 + slack(0.06),
        f"power {found['power']}": found["power"]["10 confirmations"]
        >= GOALS["power"] - slack(0.87),
    }
    if aa := found.get("aa"):
        overall, worst = GOALS["aa"]
        checks |= {
            f"A/A over all {aa['overall']:.3f}": aa["overall"] <= overall + 2 * aa["error"],
            f"A/A on the worst set {aa['worst']:.3f}": (
                aa["worst"] <= worst + 2 * aa["worst_error"]
            ),
        }
    return [name for name, holds in checks.items() if not holds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats and runs")
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--simulation", action="store_true", help="part (a) alone")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    say(describe())
    say("(a) simulation")
    found: dict[str, object] = simulate(120 if arguments.quick else 1000)
    if not arguments.simulation:
        say("(b) the same backbone against itself")
        found["aa"] = against_itself(12 if arguments.quick else 40)
        say("(c) two backbones against held-out truth")
        found["held_out"] = held_out(6 if arguments.quick else 40)
    lacking = missed(found)
    if arguments.json:
        print(json.dumps(found, indent=1))
    for text in lacking:
        say(f"MISSED: {text}")
    sys.exit(1 if lacking else 0)


if __name__ == "__main__":
    main()
