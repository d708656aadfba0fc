"""Intervals and claims of ordered classes: are they wrong as often as they say?

    python benchmarks/ordinal.py [--runs 400]

Simulated graders: a latent normal is cut into grades, and two cells see it with noise of the same
size, so that their true quadratic kappa and mean absolute error are equal. How often the interval
of one holds the truth (of 2 million samples), and how often a difference is claimed at 5 %. Exits
with 1 if a goal is missed by more than two Monte Carlo errors.
"""

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from machine import describe
from scipy.stats import norm

from sweep.comparison.stats.difference import weighted_sum
from sweep.comparison.stats.intervals import Counts, interval
from sweep.comparison.stats.sampling import estimate
from sweep.comparison.stats.verdict import ALPHA
from sweep.records.predictions import Predictions
from sweep.train.metrics import score

METRICS = ("quadratic_kappa", "mae")
_MANY = 2_000_000
_SHARED = 0.7  # of the noise of a cell's confirmations, common to them; of it half to both cells


@dataclass(frozen=True)
class Setting:
    """What is simulated.

    Attributes:
        shares: how frequent each grade is.
        noise: standard deviation of what a cell sees, relative to that of the truth.
        group: samples of a patient, who has one grade.
    """

    samples: int
    shares: tuple[float, ...]
    noise: float
    group: int = 1

    def __str__(self) -> str:
        grades = ", ".join(f"{share:g}" for share in self.shares)
        patients = f", {self.group} a patient" if self.group > 1 else ""
        return f"n {self.samples}{patients}, grades of {grades}, noise {self.noise:g}"

    @property
    def cuts(self) -> np.ndarray:
        """Where one grade ends and the next begins."""
        return norm.ppf(np.cumsum(self.shares)[:-1])


SETTINGS = [
    Setting(samples, shares, noise, group)
    for samples, shares, group in (
        (150, (0.4, 0.3, 0.3), 1), (400, (0.45, 0.1, 0.2, 0.2, 0.05), 1),
        (1200, (0.45, 0.1, 0.2, 0.2, 0.05), 1), (1200, (0.45, 0.1, 0.2, 0.2, 0.05), 4),
        (400, (0.85, 0.1, 0.05), 1),
    )
    for noise in (0.3, 0.8)
]  # fmt: skip


def one_hot(setting: Setting, seen_N: np.ndarray) -> np.ndarray:
    """Return the grade that is seen, as probabilities."""
    return np.eye(len(setting.shares))[np.searchsorted(setting.cuts, seen_N)]


def truth(rng: np.random.Generator, setting: Setting) -> dict[str, float]:
    """Return the metrics of very many samples."""
    latent_N = rng.normal(size=_MANY)
    labels_N = np.searchsorted(setting.cuts, latent_N)
    seen_N = latent_N + setting.noise * rng.normal(size=_MANY)
    return score(labels_N, one_hot(setting, seen_N), "ordinal")


def draw(rng: np.random.Generator, setting: Setting) -> list[list[Predictions]]:
    """Return five confirmations of two cells on the same samples."""
    patients = setting.samples // setting.group
    groups_N = np.repeat(np.arange(patients), setting.group)
    while True:  # every grade is there, as every data set must have it
        latent_N = rng.normal(size=patients)[groups_N]
        labels_N = np.searchsorted(setting.cuts, latent_N)
        if len(np.unique(labels_N)) == len(setting.shares):
            break

    def noise() -> np.ndarray:
        """Return noise of variance 1; half of it is the patient's, where one has several."""
        own_N, of_patient_N = rng.normal(size=len(groups_N)), rng.normal(size=patients)[groups_N]
        return (own_N + of_patient_N) / np.sqrt(2) if setting.group > 1 else own_N

    of_both_N, cells = noise(), []
    for _ in range(2):
        of_cell_N, cell = (of_both_N + noise()) / np.sqrt(2), []
        for _ in range(5):
            noise_N = np.sqrt(_SHARED) * of_cell_N + np.sqrt(1 - _SHARED) * noise()
            seen_NC = one_hot(setting, latent_N + setting.noise * noise_N)
            cell.append(Predictions(labels_N, groups_N, seen_NC, "ordinal"))
        cells.append(cell)
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=400)
    options, missed = parser.parse_args(), []
    rng = np.random.default_rng(20261129)
    print(describe())
    print(
        "| setting | metric | truth | in the interval, goal 0.95 | claimed, goal 0.05 at most | |"
    )
    print("|---|---|---|---|---|---|")
    error = 2 * np.sqrt(0.05 * 0.95 / options.runs)
    for setting in SETTINGS:
        true, held, claims = truth(rng, setting), {m: [] for m in METRICS}, {m: [] for m in METRICS}
        for _ in range(options.runs):
            one, other = draw(rng, setting)
            first, second = estimate(one), estimate(other)
            counts = Counts.of(one[0].labels_N, one[0].groups_N, len(setting.shares))
            for name in METRICS:
                found = interval(name, first[name], counts)
                held[name].append(found.low <= true[name] <= found.high)
                gain = weighted_sum([(1, first[name]), (-1, second[name])])
                claims[name].append(gain.p < ALPHA)
        for name in METRICS:
            rates = float(np.mean(held[name])), float(np.mean(claims[name]))
            wrong = rates[0] < 0.95 - error or rates[1] > 0.05 + error
            missed += [f"{setting}: {name}"] if wrong else []
            line = f"{setting} | {name} | {true[name]:.3f} | {rates[0]:.3f} | {rates[1]:.3f}"
            print(f"| {line} | {'missed' if wrong else 'ok'} |", flush=True)
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
