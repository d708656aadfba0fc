"""What a cell's search gains from finished cells of the same backbone and freeze mode.

First every rate of a dense grid is trained in every cell, once, into a file. Then the scheduler
searches the cells many times over, with the curve of its cell in place of each training: cold with
all trials and with half of them, and warm with half of them. Data sets stand in a drawn order, and
what counts is every cell but those that come first. Printed is the regret: how far the best trial
lies below the best of the curve. Exits with 1 unless the warm search has the regret of the cold one
of twice the trials: the mean difference, over cells, is below 0.001 with 95 % confidence.

    SWEEP_DATA=... SWEEP_WEIGHTS=... python benchmarks/warm_start.py CURVES.json [--runs 20]
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from machine import describe
from scipy.stats import t as student
from search_quality import LITE2, curve

from sweep.records.folder import SweepFolder
from sweep.search.ledger import Ledger
from sweep.search.scheduler import Scheduler
from sweep.space.model import Space
from sweep.train.allocator import keep_freed_memory
from sweep.train.learner import EpochScore
from sweep.train.wave import Report, SweepContext, Wave

SAME = 0.001  # of AUROC: a tenth of the margin that spaces have where they say nothing
TRIALS = (8, 16, 20)
NIH = {"name": "nih", "layout": "folder", "path": "nih_chest_xray", "group": r"^(\d+)_"}
PNEUMONIA = {"name": "pneumonia", "layout": "medmnist", "path": "pneumoniamnist.npz"}
FOCUS = {
    "name": "focus", "model": "vit_small_patch14_dinov2",
    "weights": "vit_small_patch14_dinov2.fp16.safetensors",
}  # fmt: skip
RATES = {"low": 1e-5, "high": 1e-1}

FROZEN = {
    "datasets": ["lgg_mri", "brain_mri", "chest_xray", NIH, "ichallenge_pm", "ham10000", PNEUMONIA],
    "backbones": ["lite0", LITE2, FOCUS], "freeze": ["frozen"],
    "image_size": 112, "budget": {"trials": 33, "epochs": 50},
}  # fmt: skip
TUNED = {
    "datasets": ["lgg_mri", "chest_xray", NIH, "ichallenge_pm", "ham10000"],
    "backbones": ["lite0"], "freeze": ["full"],
    "image_size": 48, "budget": {"trials": 9, "epochs": 4}, "recipe": {"preset": "study"},
}  # fmt: skip
LAST = {**TUNED, "backbones": ["lite0", LITE2], "freeze": ["last:2"]}
MODES = {"frozen": FROZEN, "last:2": LAST, "full": TUNED}


def measure(path: Path) -> None:
    """Write what each rate of each cell reaches, as it comes; what is there stays."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    for text in MODES.values():
        space = Space.model_validate({"name": "curves", "learning_rate": RATES, **text})
        rates = np.geomspace(RATES["low"], RATES["high"], space.budget.trials).tolist()
        with tempfile.TemporaryDirectory() as cache:
            for cell in space.cells():
                if cell.name in known:
                    continue
                found = curve(space, cell, rates, Path(cache))
                known[cell.name] = dict(zip(rates, [one.best for one in found], strict=True))
                path.write_text(json.dumps(known, indent=1))
                print(cell.name, " ".join(f"{one.best:.3f}" for one in found), flush=True)


Curve = dict[str, float]


def reported(wave: Wave, curve_of: Curve) -> Report:
    """Return what a worker would have reported."""
    rates, values = np.array([float(rate) for rate in curve_of]), list(curve_of.values())
    scores = []
    for trial in wave.trials:
        value = float(np.interp(np.log(trial.learning_rate), np.log(rates), values))
        scores.append(EpochScore(trial.number, 1, {"val/auroc": value, "val/loss": 1 - value}))
    test = {"auroc": 0.5} if wave.kind == "confirmation" else {}
    return Report(scores, 1, done=True, seconds=1.0, test=test, chosen=wave.trials[0].number)


def regrets(text: dict, curves: dict[str, Curve], trials: int, warm: bool, run: int) -> Curve:
    """Search all cells once, one wave after the other; return the regret of all but the first."""
    order = np.random.default_rng(run).permutation(len(text["datasets"]))
    names = [text["datasets"][place] for place in order]
    space = Space.model_validate(
        {
            **text, "name": "s", "datasets": names, "seeds": 1, "edges": "keep",
            "search": {"learning_rate": RATES, "warm_start": warm},
            "budget": {"trials": trials, "epochs": 1, "pruner": "none"}, "split": {"seed": run},
        }
    )  # fmt: skip
    best: Curve = defaultdict(float)
    with tempfile.TemporaryDirectory() as home:
        folder = SweepFolder(Path(home), "s")
        folder.path.mkdir()
        context = SweepContext(space, "id", folder, Path(home), None, Path(home), b"key")
        with Ledger("sqlite://", "s") as ledger:
            scheduler = Scheduler(context, ledger)
            while (wave := scheduler.next_wave()) is not None:
                report = reported(wave, curves[wave.cell.name])
                scores = [score.metrics["val/auroc"] for score in report.scores]
                best[wave.cell.name] = max(best[wave.cell.name], *scores)
                scheduler.on_complete(wave.key, report)
    first = space.datasets[0].name
    return {
        cell: max(curves[cell].values()) - value
        for cell, value in best.items()
        if cell.partition("/")[0] != first
    }


def compare(mode: str, text: dict, curves: dict[str, Curve], runs: int) -> bool:
    """Print a line for each number of trials; tell whether a warm search needs half of them."""
    same = True
    for trials in TRIALS:
        means = []
        for count, warm in ((trials, False), (trials // 2, False), (trials // 2, True)):
            found = defaultdict(list)
            for run in range(runs):
                for cell, value in regrets(text, curves, count, warm, run).items():
                    found[cell].append(value)
            means.append(np.array([np.mean(found[cell]) for cell in sorted(found)]))
        cold, half, warm_half = means
        apart = warm_half - cold
        error = apart.std(ddof=1) / len(apart) ** 0.5
        upper = apart.mean() + float(student.ppf(0.95, len(apart) - 1)) * error
        same &= bool(upper < SAME)
        print(
            f"| {mode} | {len(apart)} | {trials} | {cold.mean():.5f} | {half.mean():.5f} | "
            f"{warm_half.mean():.5f} | {apart.mean():+.5f} | {upper:+.5f} |",
            flush=True,
        )
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("curves", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    keep_freed_memory()
    print(describe())
    measure(options.curves)
    curves = json.loads(options.curves.read_text())
    print("| mode | cells | trials | cold | cold, half | warm, half | apart | at most, 95 % |")
    print("|---|---|---|---|---|---|---|---|")
    same = [compare(mode, text, curves, options.runs) for mode, text in MODES.items()]
    sys.exit(0 if all(same) else 1)


if __name__ == "__main__":
    main()
