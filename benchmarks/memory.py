"""The memory of a sweep over the three shared data sets, all of its processes together.

Frozen and fully trained, EfficientNet-Lite0 at 128 px, two waves at a time. Counted is the
proportional set size of every process of the command (shared pages once), twice a second.

    SWEEP_DATA=... python benchmarks/memory.py
"""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import yaml
from machine import SWEEP, data_root, describe

SPACE = {
    "name": "memory",
    "datasets": [
        "brain_mri",
        {"name": "nih", "layout": "folder", "path": "nih_chest_xray", "group": r"^(\d+)_"},
        {"name": "pneumonia", "layout": "medmnist", "path": "pneumoniamnist.npz"},
    ],
    "backbones": ["lite0"], "freeze": ["frozen", "full"], "image_size": 128, "seeds": 1,
    "budget": {"trials": 1, "epochs": 1, "frozen": {"trials": 16, "epochs": 50}}, "leaks": "allow",
}  # fmt: skip


def memory_of(process: psutil.Process) -> int:
    """Return the bytes of a process and all of its descendants."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
        began, peak = time.monotonic(), 0
        command = subprocess.Popen(
            [*SWEEP, "launch", "--space", "space.yaml", "--data-root", str(data_root())],
            cwd=folder, env={**os.environ, "SWEEP_CACHE": str(folder / "cache")},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while command.poll() is None:
            peak = max(peak, memory_of(psutil.Process(command.pid)))
            time.sleep(0.5)
        assert command.returncode == 0
    print(describe())
    print(f"three data sets, frozen and full, {time.monotonic() - began:.0f} s: "
          f"{peak / 2**30:.2f} GiB at most in all processes")  # fmt: skip


if __name__ == "__main__":
    main()
