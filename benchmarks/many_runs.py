"""`sweep compare` over 10,000 runs: from the sweep's folder, and from MLflow alone.

100 cells (5 data sets x 10 backbones x 2 modes) of 96 trials, 3 confirmations and their own run,
30 epochs each, 400 test samples; the records are simulated, the sending and reading are not.
Making them takes some minutes, most of it MLflow's. With --folder they are kept, and used again.

    python benchmarks/many_runs.py [--folder DIR]
"""

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
from machine import describe, run_sweep

sys.path.insert(0, str(Path(__file__).parents[1]))

from sweep.records.folder import Settings, SweepFolder
from sweep.records.record import RunRecord
from sweep.tracking.spool import Spool
from tests.simulated import PARAMETERS, as_table, classifier, record, space

TRIALS, SEEDS, EPOCHS, SAMPLES = 96, 3, 30, 400
METRICS = ("auroc", "auprc", "accuracy", "balanced_accuracy", "precision", "recall", "f1", "mcc")


def make(folder: Path) -> None:
    datasets = [{"name": f"set_{i}", "layout": "folder", "path": "x"} for i in range(5)]
    names = [f"backbone_{i}" for i in range(10)]
    backbones = [{"name": name, "model": "resnet18", "weights": "none"} for name in names]
    PARAMETERS.update(dict.fromkeys(names, 11_000_000))
    budget = {"trials": TRIALS, "epochs": EPOCHS}
    grid = space("many", datasets=datasets, backbones=backbones, seeds=SEEDS, budget=budget)
    home = SweepFolder(folder / "sweeps", "many")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    home.create(grid, Settings("id", "now", str(folder), None, uri, None))
    for place, cell in enumerate(grid.cells()):
        for number in range(TRIALS):
            home.write_record(long(record("id", cell, "trial", number, 1e-3)))
        for number in range(SEEDS):
            item = long(record("id", cell, "confirmation", number, 1e-3))
            item.predictions = f"{place}-{number}.parquet"
            path = home.path / "predictions" / item.predictions
            path.parent.mkdir(exist_ok=True)
            pq.write_table(as_table(classifier(SAMPLES, 0.8, 10 * place + number)), path)
            home.write_record(item)
        own = long(record("id", cell, "cell", 0, 1e-3))
        own.facts["trials"] = {"complete": TRIALS}
        home.write_record(own)
    (home.path / "finished").touch()
    Spool(home, uri).send_all()


def long(item: RunRecord) -> RunRecord:
    """Return a record with as many epochs and metrics as a real one."""
    entry = {f"val/{name}": 0.812345678 for name in METRICS}
    history = [{**entry, "epoch": epoch, "train/loss": 0.3, "val/loss": 0.4}
               for epoch in range(1, EPOCHS + 1)]  # fmt: skip
    return RunRecord(**{**asdict(item), "history": history, "sweep": "many",
                        "started": time.time(), "ended": time.time()})  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args().folder
    folder = given or Path(tempfile.mkdtemp())
    print(describe())
    if not (folder / "sweeps" / "many" / "finished").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        make(folder)
        print(f"made and sent in {time.perf_counter() - began:.0f} s")
    where = folder.absolute()
    uri = f"sqlite:///{where / 'mlflow.db'}"
    for name, options in (("folder", []), ("MLflow", ["--tracking-uri", uri])):
        shutil.rmtree(where / "cache", ignore_errors=True)
        command = ("compare", "many", "--format", "csv", *options)
        cold, *warm = (run_sweep(*command, folder=where) for _ in range(4))
        print(f"from {name}: {cold:.2f} s the first time, then {sorted(warm)[1]:.2f} s")
    if given is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
