"""What many tests need: small image sets, the shared data, a command line in this process."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from sweep.cli import commands as cli
from sweep.train.allocator import keep_freed_memory

ROOT = Path(__file__).parents[1]

keep_freed_memory()  # half the time of tests that train
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # another worker has the other core


def _shared(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: set {variable}")
    return folder.absolute()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    return _shared("SWEEP_DATA", "data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    return _shared("SWEEP_WEIGHTS", "weights")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test's cache, sweeps and tracking store to itself."""
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SWEEP_MLFLOW_MODELS", "none")  # they take seconds for each launch
    for name in ("SWEEP_HOME", "SWEEP_DATA", "SWEEP_WEIGHTS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def write_images(
    folder: Path, count: int, brightness: int, size: int = 24, prefix: str = ""
) -> None:
    """Write `count` noisy PNG images of about a brightness."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(brightness)
    for i in range(count):
        noise = rng.integers(-30, 30, (size, size, 3))
        pixels = np.clip(brightness + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{prefix}{i:03}.png")


def tiny_space(name: str, *datasets: object, **changes: object) -> str:
    """Write the space file of a sweep that takes seconds; return its path."""
    document = {
        "name": name,
        "datasets": list(datasets),
        "backbones": [{"name": "small", "model": "test_resnet", "weights": "none"}],
        "freeze": ["frozen"],
        "image_size": 32,
        "budget": {"trials": 1, "epochs": 1},
        "seeds": 1,
        "edges": "keep",
        **changes,
    }
    Path("space.yaml").write_text(yaml.safe_dump(document))
    return "space.yaml"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two classes, 20 images each, that differ in brightness."""
    root = tmp_path / "data"
    write_images(root / "cells" / "dark", 20, 70)
    write_images(root / "cells" / "light", 20, 180)
    return root


@dataclass
class Outcome:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run a sweep command in this process, in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sweep", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
