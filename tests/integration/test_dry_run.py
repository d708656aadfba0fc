"""`sweep launch --dry-run --address`: what the nodes of a cluster have, lack, and take."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

# isort: split
from ray.cluster_utils import Cluster

import sweep.search.ray.environment  # noqa: F401 - before ray, which reads it

pytestmark = [pytest.mark.integration, pytest.mark.ray, pytest.mark.timeout(300)]

BACKBONES = [
    {"name": name, "model": f"test_{name}", "weights": "none"} for name in ("vit", "resnet")
]
SPACE = {
    "name": "s",
    "datasets": ["digits", {"name": "skin", "layout": "folder", "path": "skin"}],
    "backbones": BACKBONES,
    "freeze": ["frozen", "full"],
    "image_size": 160,
    "budget": {"trials": 2, "epochs": 2},
}


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[str]:
    """Start a cluster of two nodes on loopback; return its address."""
    cluster = Cluster()
    for cpus in (1, 2):
        cluster.add_node(num_cpus=cpus, object_store_memory=80_000_000, include_dashboard=False)
    yield cluster.address
    cluster.shutdown()


def dry_run(folder: Path, space: dict[str, object], *arguments: str) -> tuple[int, str, str]:
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEP", "MLFLOW"))}
    done = subprocess.run(
        [sys.executable, "-m", "sweep", "launch", "--space", "space.yaml", "--dry-run", *arguments],
        cwd=folder, env={**environment, "SWEEP_CACHE": str(folder / "cache")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_what_a_cluster_lacks_for_a_sweep_is_named_as_doctor_does(
    tmp_path: Path, two_nodes: str
) -> None:
    code, out, err = dry_run(tmp_path, SPACE, "--address", two_nodes, "--no-measure")
    assert code == 2
    assert err.startswith("Error: something is lacking:\n")
    assert err.count("on every node: dataset skin: ") == 1
    assert out.count("assumed") == 2 * len(BACKBONES)
    assert not (tmp_path / "sweeps").exists()


def test_hours_are_told_from_what_was_measured_on_each_kind_of_node(
    tmp_path: Path, two_nodes: str
) -> None:
    space = {**SPACE, "datasets": ["digits"], "backbones": BACKBONES[:1]}
    code, out, err = dry_run(tmp_path, space, "--address", two_nodes)
    assert code == 0, err
    assert out.count("measured") == 2
    assert "assumed" not in out
    (line,) = (line for line in out.splitlines() if line.startswith("│ digits") and "/" not in line)
    assert line.rstrip("│ ").endswith((" s", " min", " h"))


def test_without_an_address_the_time_here_is_told(tmp_path: Path) -> None:
    code, out, err = dry_run(tmp_path, {**SPACE, "datasets": ["digits"]})
    assert code == 0, err
    assert "CPU cores here" in " ".join(out.split())
