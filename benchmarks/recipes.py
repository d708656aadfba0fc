"""Does the recipe matter? `modern` against `study`; lora and lp-ft against full; on real images.

Two sweeps that differ in their preset alone, EfficientNet-Lite0 on small pictures, each cell
searched and confirmed as any other; then the differences of `sweep compare`, paired on the same
test images, with their intervals (95 %, unadjusted for the number of pairs; a positive ECE is a
smaller one, and has none).

    SWEEP_DATA=... python benchmarks/recipes.py [--size 64] [--epochs 10] [NAME ...]
"""

import argparse
import math
import tempfile
from pathlib import Path

import yaml
from machine import data_root, describe, run_sweep

from sweep.comparison.comparison import Choices, Comparison
from sweep.comparison.comparison import compare as compare_results
from sweep.comparison.sources import find_results

SETS: dict[str, object] = {
    "chest_xray": "chest_xray",
    "ichallenge_pm": "ichallenge_pm",
    "lgg_mri": "lgg_mri",
    "ham10000": "ham10000",
    "nih": {
        "name": "nih", "layout": "folder", "path": "nih_chest_xray", "group": r"^(\d+)_",
        "augment": "xray",
    },
}  # fmt: skip
MODES = ["full", "lora:8", "lp-ft"]
PRESETS = ("study", "modern")
METRICS = ("auroc", "balanced_accuracy", "ece")


def space(preset: str, options: argparse.Namespace) -> dict[str, object]:
    """Return the space of one preset."""
    return {
        "name": preset,
        "datasets": [SETS[name] for name in options.names],
        "backbones": ["lite0"],
        "freeze": MODES,
        "image_size": options.size,
        "learning_rate": {"low": 1e-4, "high": 1e-1},
        "budget": {"trials": options.trials, "epochs": options.epochs},
        "seeds": 3,
        "recipe": {"preset": preset},
    }


def main() -> None:
    """Run both sweeps, print the scores and the differences that the presets and modes make."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("names", nargs="*", default=list(SETS))
    options = parser.parse_args()
    root, launch = data_root(), ("launch", "--local")
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for preset in PRESETS:
            file = place / f"{preset}.yaml"
            file.write_text(yaml.safe_dump(space(preset, options)))
            seconds = run_sweep(*launch, "--space", file, "--data-root", root, folder=place)
            print(f"{preset}: {seconds / 60:.0f} minutes", flush=True)
        sweeps = find_results(("study", "modern"), place / "sweeps", None)
        for metric in METRICS:
            print_differences(compare_results(sweeps, Choices(metric, 0.01)))


def print_differences(found: Comparison) -> None:
    """Print the mean of a metric for each cell, and what presets and modes change of it."""
    metric = found.choices.metric
    for name, rows in found.paired.items():
        of = {(row.cell.sweep, row.cell.freeze): row for row in rows}
        scores = ", ".join(
            f"{'/'.join(key)} {row.metrics[metric].mean:.3f}" for key, row in of.items()
        )
        print(f"\n{name}, {metric}: {scores}")
        pairs = [(("modern", mode), ("study", mode)) for mode in MODES]
        pairs += [((preset, mode), (preset, "full")) for preset in PRESETS for mode in MODES[1:]]
        for first, second in pairs:
            if first in of and second in of:
                interval = found.gain([(1, of[first]), (-1, of[second])]).interval()
                known = f"[{interval.low:+.3f}, {interval.high:+.3f}]"
                print(
                    f"  {'/'.join(first)} less {'/'.join(second)}: {interval.mean:+.3f} "
                    + ("(no interval)" if math.isnan(interval.low) else known)
                )


if __name__ == "__main__":
    main()
