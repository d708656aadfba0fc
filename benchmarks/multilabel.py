"""Intervals and claims of several labels a sample: are they wrong as often as they say?

    python benchmarks/multilabel.py [--runs 400]

Simulated scores of labels that come together (the labels of a sample share a latent normal), for
two cells whose true macro AUROC is equal: how often the interval of one holds the truth, and how
often a difference between the two is claimed at 5 %. Exits with 1 if a goal is missed by more than
two Monte Carlo errors.
"""

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from machine import describe
from scipy.stats import norm

from sweep.comparison.stats.difference import weighted_sum
from sweep.comparison.stats.intervals import Counts, interval
from sweep.comparison.stats.sampling import MetricEstimate, estimate
from sweep.comparison.stats.verdict import ALPHA
from sweep.records.predictions import Predictions


@dataclass(frozen=True)
class Setting:
    """What is simulated.

    Attributes:
        shares: how frequent each label is.
        auroc: the true one of every label, on average over trainings.
        noise: standard deviation of the AUROC over trainings.
        group: samples of a patient, who has the same labels.
    """

    samples: int
    shares: tuple[float, ...]
    auroc: float
    noise: float = 0.01
    group: int = 1

    def __str__(self) -> str:
        labels = ", ".join(f"{share:g}" for share in self.shares)
        patients = f", {self.group} a patient" if self.group > 1 else ""
        return f"n {self.samples}{patients}, labels of {labels}, AUROC {self.auroc:g}"


SETTINGS = [
    Setting(samples, shares, auroc, group=group)
    for samples, shares, group in (
        (200, (0.5, 0.3), 1), (200, (0.4, 0.2, 0.1, 0.05), 1), (1000, (0.3, 0.1, 0.05, 0.02), 1),
        (1000, (0.3, 0.1, 0.05, 0.02), 4), (600, (0.5,) + (0.1,) * 9, 1),
    )
    for auroc in (0.7, 0.9, 0.97)
]  # fmt: skip


def draw(rng: np.random.Generator, setting: Setting) -> tuple[list[Predictions], list[Predictions]]:
    """Return five confirmations of two cells on the same samples."""
    patients, labels = setting.samples // setting.group, len(setting.shares)
    cuts_C = norm.ppf(1 - np.array(setting.shares))
    while True:  # every label is on each side, as every data set must have it
        shared_P1 = rng.normal(size=(patients, 1))
        latent_PC = 0.5 * shared_P1 + np.sqrt(0.75) * rng.normal(size=(patients, labels))
        has_PC = latent_PC > cuts_C
        if (has_PC.sum(axis=0) > 2).all() and (~has_PC).any(axis=0).all():
            break
    groups_N = np.repeat(np.arange(patients), setting.group)
    has_NC = has_PC[groups_N]
    slope = norm.pdf(norm.ppf(setting.auroc))
    cells = []
    common_NC = rng.normal(size=has_NC.shape)
    of_patient_NC = rng.normal(size=has_PC.shape)[groups_N]
    for _ in range(2):
        own_NC, cell = rng.normal(size=has_NC.shape), []
        for _ in range(5):
            auroc = setting.auroc + setting.noise * rng.normal()
            distance = np.sqrt(2) * (norm.ppf(setting.auroc) + (auroc - setting.auroc) / slope)
            if setting.group > 1:
                noise_NC = 0.6 * common_NC + 0.5 * of_patient_NC + np.sqrt(0.39) * own_NC
            else:
                noise_NC = 0.6 * common_NC + 0.8 * own_NC
            scores_NC = distance * has_NC + noise_NC
            cell.append(Predictions(has_NC.astype(np.int64), groups_N, norm.cdf(scores_NC - 1)))
        cells.append(cell)
    return cells[0], cells[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=400)
    options, missed = parser.parse_args(), []
    rng = np.random.default_rng(20261129)
    print(describe())
    print(
        "| setting | in the interval, goal 0.95 | claimed, goal 0.05 at most | |\n|---|---|---|---|"
    )
    error = 2 * np.sqrt(0.05 * 0.95 / options.runs)
    for setting in SETTINGS:
        held, claims = [], []
        for _ in range(options.runs):
            one, other = draw(rng, setting)
            first, second = of_auroc(one), of_auroc(other)
            counts = Counts.of(one[0].labels_N, one[0].groups_N, len(setting.shares))
            found = interval("auroc", first, counts)
            held.append(found.low <= setting.auroc <= found.high)
            claims.append(weighted_sum([(1, first), (-1, second)]).p < ALPHA)
        rates = float(np.mean(held)), float(np.mean(claims))
        wrong = rates[0] < 0.95 - error or rates[1] > 0.05 + error
        missed += [str(setting)] if wrong else []
        print(
            f"| {setting} | {rates[0]:.3f} | {rates[1]:.3f} | {'missed' if wrong else 'ok'} |",
            flush=True,
        )
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


def of_auroc(cell: list[Predictions]) -> MetricEstimate:
    """Return the macro AUROC of a cell."""
    return estimate(cell)["auroc"]


if __name__ == "__main__":
    main()
