"""A small sweep of real images and weights, its undisturbed result, and a moment to harm it.

The moments are random: ``SWEEP_CHAOS_SEED`` repeats those of a run that printed it, and
``SWEEP_CHAOS_REPEATS`` gives every harm so many of them.
"""

import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from tests.conftest import write_images
from tests.running import Sweep, wait_until

SEED = int(os.environ.get("SWEEP_CHAOS_SEED") or random.randrange(10**6))
REPEATS = int(os.environ.get("SWEEP_CHAOS_REPEATS") or 1)
CELLS = 2
RUNS = Counter(trial=10, confirmation=4)
SPACE = {
    "name": "chaos",
    "datasets": [{"name": "cells", "layout": "folder", "path": "cells"}],
    "backbones": [{"name": "own", "model": "test_efficientnet", "weights": "own.safetensors"}],
    "freeze": ["frozen", "last:1"],
    "image_size": 32,
    "budget": {"trials": 4, "epochs": 12, "pruner": "none", "frozen": {"trials": 6, "epochs": 60}},
    "seeds": 2,
    "edges": "keep",
}


def pytest_report_header() -> str:
    """Print what repeats a run."""
    return f"SWEEP_CHAOS_SEED={SEED} SWEEP_CHAOS_REPEATS={REPEATS}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test at several moments."""
    if "moments" in metafunc.fixturenames:
        metafunc.parametrize("repeat", range(REPEATS))


def write_inputs(folder: Path) -> None:
    """Write the data, the weights and the space of the sweep into a folder."""
    for label, brightness in (("dark", 100), ("light", 108)):
        write_images(folder / "data" / "cells" / label, 60, brightness)
    write_weights(folder / "weights" / "own.safetensors", 0)
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))


def write_weights(path: Path, seed: int) -> None:
    """Write weights for the network of the sweep."""
    torch.manual_seed(seed)
    state = timm.create_model("test_efficientnet").state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: item.contiguous() for name, item in state.items()}, path)


@dataclass(frozen=True)
class Result:
    """What a sweep has found, to the last bit, and how long it took.

    Attributes:
        cells: as ``sweep compare`` prints them, but for times.
        probabilities: of the test split, by the confirmation.
        seconds: from the command to its end.
        begun: seconds after which the search began.
    """

    cells: list[dict[str, Any]]
    probabilities: dict[str, list[list[float]]]
    seconds: float = 0.0
    begun: float = 0.0


class ChaosSweep(Sweep):
    """The sweep in a folder of its own, and the moments at which it is harmed.

    It runs on one CPU: two waves at once may end in another order, and a sampler that
    knows other trials asks for others.
    """

    def __init__(self, folder: Path, name: str = "chaos", **environment: str) -> None:
        super().__init__(
            folder,
            name,
            ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))),
            **environment,
        )
        if not (folder / "space.yaml").exists():
            write_inputs(folder)

    def launch(self, *more: str) -> Any:
        """Begin the sweep."""
        return self.start("launch", "--space", "space.yaml", "--data-root", "data",
                          "--weights-dir", "weights", "--name", self.name, *more)  # fmt: skip

    def result(self) -> Result:
        """Return what it has found."""
        answer = self.run("compare", self.name, "--format", "json").partition("\nNote:")[0]
        cells = json.loads(answer)["cells"]
        for cell in cells:
            del cell["sweep"], cell["seconds"], cell["cost"]
        probabilities = {}
        for key, text in self.records().items():
            record = json.loads(text)
            if record["predictions"]:
                table = pd.read_parquet(self.path / "predictions" / record["predictions"])
                probabilities[key] = table.filter(regex="^p_").to_numpy().tolist()
        return Result(cells, probabilities)

    def check(self, undisturbed: Result, before: dict[str, str]) -> None:
        """Every run is there once, none that had ended `before` ran again, all is as it was."""
        after = self.records()
        changed = {key for key, text in before.items() if after.get(key) != text}
        assert not changed, changed
        assert self.kinds() == RUNS
        self.run("verify", self.name)
        found = self.result()
        assert found.cells == undisturbed.cells
        assert found.probabilities == undisturbed.probabilities
        assert not self.leftovers()

    def leftovers(self) -> list[str]:
        """Return what is left where nothing should be: processes, files of what was under way."""
        files = [path for name in ("checkpoints", "alive", "spool", "kept")
                 for path in (self.path / name).glob("*")]  # fmt: skip
        files += [path for path in self.path.glob("*") if path.name.startswith(("tune.", "."))]
        files += [p for p in (self.folder / "cache").rglob("*") if ".building" in p.name]
        files += [self.path / name for name in ("owner.json", "stop", "preparing.json")
                  if (self.path / name).exists()]  # fmt: skip
        return [str(path) for path in files] + self.processes_left()


class Moments:
    """Random moments of a sweep, told by a generator of its own for each test."""

    def __init__(self, undisturbed: Result, name: str) -> None:
        self._undisturbed, self._random = undisturbed, random.Random(f"{SEED} {name}")
        self.choice, self.fraction = self._random.choice, self._random.random

    def wait(self, sweep: Sweep, searching: bool = False) -> float:
        """Sleep until a random moment of a sweep that was begun just now; return when that is.

        Args:
            searching: a moment of its search, not of its preparations.
        """
        whole = self._undisturbed
        moment = self._random.uniform(0, 0.9 * whole.seconds)
        if searching:
            wait_until(lambda: "the search begins" in sweep.log)
            moment = self._random.uniform(0, 0.9 * (whole.seconds - whole.begun))
        print(f"harmed after {moment:.2f} s{' of its search' if searching else ''}")
        time.sleep(moment)
        return moment


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    """What the sweep finds when nothing harms it."""
    if shutil.which("taskset") is None:
        pytest.skip("taskset is not installed (Debian's package util-linux)")
    sweep = ChaosSweep(tmp_path_factory.mktemp("undisturbed"))
    started = time.monotonic()
    process = sweep.launch()
    wait_until(lambda: "the search begins" in sweep.log, process)
    begun = time.monotonic() - started
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    seconds = time.monotonic() - started
    found = sweep.result()
    assert sweep.kinds() == RUNS
    assert not sweep.leftovers()
    yield Result(found.cells, found.probabilities, seconds, begun)


@pytest.fixture
def moments(undisturbed: Result, request: pytest.FixtureRequest) -> Moments:
    """When a test harms its sweep."""
    return Moments(undisturbed, request.node.name)


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[ChaosSweep]:
    """The sweep, not yet begun; ended after the test with all that runs below it."""
    sweep = ChaosSweep(tmp_path)
    yield sweep
    sweep.kill_all()
