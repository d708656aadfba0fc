"""A sweep in one process, without Ray: the same results, to the last bit."""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from sweep.train.cell import WaveRun
from sweep.train.learner import EpochScore
from sweep.train.probe import BatchedLinearProbe
from sweep.train.wave import Report
from tests.conftest import Command, tiny_space, write_images
from tests.running import Sweep

pytestmark = [pytest.mark.e2e, pytest.mark.ray, pytest.mark.timeout(300)]

SPACE = {
    "name": "s",
    "datasets": [{"name": "cells", "layout": "folder", "path": "cells"}],
    "backbones": [{"name": "own", "model": "test_efficientnet", "weights": "none"}],
    "freeze": ["frozen", "last:1"],
    "image_size": 32,
    "search": {"weight_decay": {"low": 1.0e-5, "high": 1.0e-1}},
    "budget": {"trials": 4, "epochs": 6, "frozen": {"trials": 6, "epochs": 20}},
    "seeds": 2,
}
OF_THE_MOMENT = {"key", "started", "ended", "seconds", "predictions", "validation", "model",
                 "checksums", "sha256"}  # fmt: skip


def one_cpu(folder: Path) -> Sweep:
    """A sweep on one CPU: two waves at once may end in another order."""
    for label, brightness in (("dark", 100), ("light", 108)):
        write_images(folder / "data" / "cells" / label, 40, brightness)
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    return Sweep(folder, "s", ("taskset", "-c", str(min(os.sched_getaffinity(0)))))


def results(sweep: Sweep) -> dict[str, Any]:
    """Return what each run has found, without what depends on the moment or the home."""
    found = {}
    for key, text in sweep.records().items():
        record = json.loads(text)
        kept = {name: item for name, item in record.items() if name not in OF_THE_MOMENT}
        facts = {k: v for k, v in kept.pop("facts").items() if "memory" not in k and "sec" not in k}
        if record["predictions"]:
            table = pd.read_parquet(sweep.path / "predictions" / record["predictions"])
            kept["probabilities"] = table.filter(regex="^p_").to_numpy().tolist()
        found[key] = {**kept, "facts": facts}
    return found


def test_without_ray_the_results_are_the_same_to_the_last_bit(tmp_path: Path) -> None:
    launch = ("launch", "--space", "space.yaml", "--data-root", "data")
    on_ray, here = one_cpu(tmp_path / "ray"), one_cpu(tmp_path / "here")
    on_ray.run(*launch)
    here.run(*launch, "--local")
    assert "nodes:" in on_ray.log
    assert "nodes:" not in here.log
    assert len(results(here)) == len(results(on_ray)) >= 14
    assert results(here) == results(on_ray)
    here.run("verify", "s")


def test_trials_run_in_the_process_of_the_command(
    sweep: Command, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, epochs = BatchedLinearProbe.train_epoch, []

    def seen(probe: BatchedLinearProbe) -> list[EpochScore]:  # where a breakpoint would stop
        epochs.append(probe.epoch)
        return train(probe)

    monkeypatch.setattr(BatchedLinearProbe, "train_epoch", seen)
    space = tiny_space("s", {"name": "cells", "layout": "folder", "path": "cells"})
    done = sweep("launch", "--space", space, "--data-root", images, "--local")
    assert done.code == 0, done.err
    assert len(epochs) == 2  # one of the trial, one of its confirmation
    assert "test split" in done.out


def test_a_local_sweep_that_was_stopped_goes_on_as_it_was_launched(
    sweep: Command, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = WaveRun.step

    def interrupted(run: WaveRun) -> Report:
        raise KeyboardInterrupt

    space = tiny_space("s", {"name": "cells", "layout": "folder", "path": "cells"})
    monkeypatch.setattr(WaveRun, "step", interrupted)
    done = sweep("launch", "--space", space, "--data-root", images, "--local")
    assert done.code == 3, done.err
    monkeypatch.setattr(WaveRun, "step", step)
    done = sweep("resume", "s")
    assert done.code == 0, done.err
    assert "nodes:" not in Path("sweeps/s/sweep.log").read_text()


def test_an_address_beside_local_is_refused(sweep: Command) -> None:
    done = sweep("launch", "--space", "quickstart", "--local", "--address", "auto")
    assert done.code == 2
    assert "leave the address auto out" in done.err
