"""Are gaps between subgroups, and drops on external sets, claimed at the rate that is said?

    python benchmarks/subgroups.py [--runs 400]

Simulated classifiers whose AUROC is known (those of claims.py), test samples cut at random into
subgroups: a gap that is claimed is false. Then a gap is planted. Last, how often the interval of
the change on an external set holds the true change. Exits with 1 if a goal is missed by more than
two Monte Carlo errors.
"""

import argparse
import sys
from itertools import combinations

import numpy as np
from claims import Setting, draw
from machine import describe

from sweep.comparison import subgroups
from sweep.comparison.stats.across_samples import difference_across
from sweep.comparison.stats.sampling import estimate
from sweep.comparison.stats.verdict import ALPHA, holm
from sweep.comparison.subgroups import gap_between, split_by
from sweep.records.predictions import Predictions
from sweep.train.metrics import score

FOLDS = 5
GOALS = {"false": 0.05, "coverage": 0.95}
SETTINGS = [
    Setting(n, prevalence, auroc, noise, group, classes)
    for n, prevalence, group, classes in (
        (60, 0.5, 1, 2), (150, 0.2, 1, 2), (600, 0.5, 1, 2), (600, 0.05, 1, 2), (300, 0.5, 5, 2),
        (150, 0.3, 1, 3),
    )
    for auroc, noise in ((0.8, 0.01), (0.95, 0.01), (0.995, 0.003))
]  # fmt: skip


def claimed(
    cell: list[Predictions], values_N: np.ndarray, by_fold: list[Predictions] | None = None
) -> bool | None:
    """Tell whether any gap is claimed; None where none can be compared."""
    own = split_by(values_N, cell, "auroc", 0.0, by_fold)
    couples = [gap_between(one, other) for one, other in combinations(own, 2)]
    gaps = [gap for gap in couples if gap and gap.judged]
    if not gaps:
        return None
    return min(holm([gap.p for gap in gaps])) < ALPHA


def by_group(rng: np.random.Generator, cell: list[Predictions], count: int) -> np.ndarray:
    """Return a random subgroup of each sample, the same for the samples of a group."""
    names_G = rng.integers(0, count, int(cell[0].groups_N.max()) + 1)
    return np.array([f"v{name}" for name in names_G[cell[0].groups_N]], dtype=object)


def claimed_of_folds(rng: np.random.Generator, cell: list[Predictions], count: int) -> bool | None:
    """Tell whether any gap is claimed where each model was tested on another fold of patients."""
    classes_G = np.unique(np.stack([cell[0].groups_N, cell[0].labels_N]), axis=1)[1]
    fold_G = np.empty(len(classes_G), dtype=int)
    for label in np.unique(classes_G):
        of_class = rng.permutation(np.flatnonzero(classes_G == label))
        fold_G[of_class] = np.arange(len(of_class)) % FOLDS
    folds = [item.of_samples(fold_G[item.groups_N] == f) for f, item in enumerate(cell[:FOLDS])]
    names = ("labels_N", "groups_N", "probabilities_NC")
    pooled = Predictions(*(np.concatenate([getattr(f, name) for f in folds]) for name in names))
    return claimed([pooled], by_group(rng, [pooled], count), folds)


def planted(rng: np.random.Generator, high: float, low: float, n: int) -> bool | None:
    """Tell whether a gap between subgroups of half the samples each is found."""
    parts = [draw(rng, Setting(n // 2, 0.5, auroc, 0.01), auroc)[0] for auroc in (high, low)]
    cell = []
    for one, other in zip(*parts, strict=True):
        groups_N = np.concatenate([one.groups_N, other.groups_N + one.groups_N.max() + 1])
        labels_N = np.concatenate([one.labels_N, other.labels_N])
        both = np.concatenate([one.probabilities_NC, other.probabilities_NC])
        cell.append(Predictions(labels_N, groups_N, both))
    values_N = np.array(["a"] * len(parts[0][0].labels_N) + ["b"] * len(parts[1][0].labels_N))
    return claimed(cell, values_N.astype(object))


def holds_change(rng: np.random.Generator, inside: Setting, outside: Setting) -> bool:
    """Tell whether the interval of the change holds the true one."""
    cells = [draw(rng, setting, setting.auroc)[0] for setting in (outside, inside)]
    items = [estimate(cell)["auroc"] for cell in cells]
    scores = [[score(p.labels_N, p.probabilities_NC)["auroc"] for p in cell] for cell in cells]
    found = difference_across(*items, list(zip(*scores, strict=True))).interval()
    return bool(found.low <= outside.auroc - inside.auroc <= found.high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--only", choices=["gaps", "planted", "change"])
    parser.add_argument(
        "--setting", default="", help="of gaps: what the setting's line begins with"
    )
    parser.add_argument("--least", type=int, default=subgroups.LEAST_GROUPS)
    options = parser.parse_args()
    subgroups.LEAST_GROUPS = options.least
    print(describe())
    runs, missed = options.runs, []
    rng = np.random.default_rng(20261129)

    def note(name: str, rate: float, count: int, goal: float, upper: bool) -> None:
        error = np.sqrt(goal * (1 - goal) / max(1, count))
        wrong = rate > goal + 2 * error if upper else rate < goal - 2 * error
        print(f"| {name} | {count} | {rate:.3f} | {'missed' if wrong and count else 'ok'} |")
        if wrong and count:
            missed.append(name)

    print("| false gaps: setting, values of the column | runs | claimed | goal 0.05 |")
    print("|---|---|---|---|")
    settings = [setting for setting in SETTINGS if str(setting).startswith(options.setting)]
    for setting in settings if options.only in (None, "gaps") else ():
        for count in (2, 4):
            for what in ("", f", {FOLDS} folds"):
                found = []
                for _ in range(runs):
                    cell = draw(rng, setting, setting.auroc)[0]
                    if what:
                        told = claimed_of_folds(rng, cell, count)
                    else:
                        told = claimed(cell, by_group(rng, cell, count))
                    found += [] if told is None else [told]
                rate = float(np.mean(found or [0]))
                note(f"{setting}; {count}{what}", rate, len(found), 0.05, True)
    print("\n| planted gap | runs | found | |\n|---|---|---|---|")
    planted_gaps = ((0.9, 0.75, 300), (0.9, 0.75, 600), (0.95, 0.9, 600), (0.95, 0.9, 2000))
    for high, low, n in planted_gaps if options.only in (None, "planted") else ():
        found = [bool(planted(rng, high, low, n)) for _ in range(max(50, runs // 4))]
        print(f"| {high} and {low}, n {n} | {len(found)} | {np.mean(found):.2f} | |")
    print("\n| change on an external set: inside, outside | runs | in the interval | goal 0.95 |")
    print("|---|---|---|---|")
    changes = (
        (Setting(150, 0.5, 0.95, 0.01), Setting(600, 0.3, 0.85, 0.01)),
        (Setting(60, 0.5, 0.98, 0.01), Setting(150, 0.2, 0.9, 0.01)),
        (Setting(600, 0.05, 0.8, 0.01), Setting(600, 0.05, 0.8, 0.01)),
        (Setting(300, 0.5, 0.9, 0.01, 5), Setting(600, 0.5, 0.8, 0.01, 5)),
    )
    for inside, outside in changes if options.only in (None, "change") else ():
        found = [holds_change(rng, inside, outside) for _ in range(runs)]
        note(f"{inside}; {outside}", float(np.mean(found)), len(found), 0.95, False)
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
