"""A cluster that an autoscaler enlarges when waves wait, with Ray's own fake provider of nodes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ray.cluster_utils import AutoscalingCluster

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.timeout(600)]

SPACE = {
    "name": "grows",
    "datasets": ["digits"],
    "backbones": [{"name": "small", "model": "test_efficientnet", "weights": "none"}],
    "freeze": ["full"],
    "image_size": 32,
    "budget": {"trials": 6, "epochs": 20, "pruner": "none"},
    "seeds": 1,
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Start a head without CPUs and one worker of one CPU; up to three may come."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "fedcba98" * 8)
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "cache"))
    worker = {"resources": {"CPU": 1, "object_store_memory": 80_000_000}, "node_config": {},
              "min_workers": 1, "max_workers": 3}  # fmt: skip
    cluster = AutoscalingCluster({"CPU": 0}, {"worker": worker}, autoscaler_v2=True)
    cluster.start()
    yield dict(os.environ)
    cluster.shutdown()


@pytest.mark.parametrize(("most", "nodes"), [("3", 3), ("", 1)])
def test_waves_wait_for_as_many_nodes_as_there_may_be(
    tmp_path: Path, environment: dict[str, str], most: str, nodes: int
) -> None:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    with (tmp_path / "told").open("w") as told:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "sweep", "launch", "--space", "space.yaml", "--address", "auto"],
            cwd=tmp_path, env={**environment, "SWEEP_MAX_NODES": most}, stdout=told, stderr=told,
        )  # fmt: skip
        busiest = 0.0
        while sweep.poll() is None:
            pulse = tmp_path / "sweeps" / "grows" / "pulse.json"
            if pulse.is_file():
                busiest = max(busiest, json.loads(pulse.read_text())["used"].get("CPU", 0.0))
    assert sweep.returncode == 0, (tmp_path / "told").read_text()
    assert busiest == nodes
