"""What lies between the end of one trial and the first step of the next on a warm actor.

A real sweep of one cell, 20 trials of three epochs on one actor, over digits. The gap between
two trials is what is left of the time from one result to the next when the training, as the
worker measured it, is taken away.

    python benchmarks/warm_actor.py
"""

import itertools
import json
import statistics
import tempfile
from pathlib import Path

import yaml
from machine import describe, run_sweep

TRIALS = 20


def main() -> None:
    space = {
        "name": "warm", "datasets": ["digits"], "freeze": ["last:1"], "image_size": 32, "seeds": 1,
        "backbones": [{"name": "small", "model": "test_efficientnet", "weights": "none"}],
        "budget": {"trials": TRIALS, "epochs": 3, "pruner": "none"},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "space.yaml").write_text(yaml.safe_dump(space))
        run_sweep("launch", "--space", "space.yaml", folder=folder)
        files = (folder / "sweeps" / "warm" / "runs").glob("*.json")
        records = [json.loads(path.read_text()) for path in files]
    trials = sorted((r for r in records if r["kind"] == "trial"), key=lambda r: r["ended"])
    gaps = [
        later["ended"] - earlier["ended"] - later["seconds"]
        for earlier, later in itertools.pairwise(trials[1:])
    ]
    training = statistics.median(record["seconds"] for record in trials)
    print(describe())
    print(f"training of one trial           {1000 * training:7.0f} ms (median of {TRIALS})")
    print(f"between two trials, beyond that {1000 * statistics.median(gaps):7.0f} ms (median), "
          f"{1000 * max(gaps):.0f} ms (longest)")  # fmt: skip


if __name__ == "__main__":
    main()
