"""A cluster that an autoscaler enlarges when waves wait, with Ray's own fake provider of nodes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(600)]

RAY = str(Path(sys.executable).with_name("ray"))
MOST = 3
COMMANDS = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray",
            "worker_start_ray")  # fmt: skip
PROVIDER = {
    "type": "fake_multinode",
    "disable_launch_config_check": True,
    "disable_node_updaters": True,
    "use_node_id_as_ip": True,  # all have one address
}
CLUSTER = {
    "cluster_name": "fake",
    "max_workers": MOST,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 1,
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 1, "object_store_memory": 80_000_000},
            "node_config": {},
            "min_workers": 1,
            "max_workers": MOST,
        },
    },
    "head_node_type": "ray.head.default",
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    **{f"{name}_commands": [] for name in COMMANDS},
}
SPACE = {
    "name": "grows",
    "datasets": ["digits"],
    "backbones": [{"name": "small", "model": "test_efficientnet", "weights": "none"}],
    "freeze": ["full"],
    "image_size": 32,
    "budget": {"trials": 6, "epochs": 20, "pruner": "none"},
    "seeds": 1,
    "edges": "keep",
}


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Start a head without CPUs and one worker of one CPU; two more may come."""
    told = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "fedcba98" * 8,
        "SWEEP_CACHE": str(tmp_path / "cache"),
    }
    address = f"127.0.0.1:{free_port()}"
    provider = {**PROVIDER, "gcs_address": address}
    of_head = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
    (tmp_path / "cluster.json").write_text(json.dumps({**CLUSTER, "provider": provider}))
    subprocess.run(
        [RAY, "start", "--head", "--num-cpus=0", "--node-ip-address=127.0.0.1", "--port",
         address.partition(":")[2], "--disable-usage-stats", "--object-store-memory=80000000",
         f"--autoscaling-config={tmp_path / 'cluster.json'}"],
        check=True, env={**told, **of_head}, capture_output=True,
    )  # fmt: skip
    for _ in range(30):
        status = subprocess.run([RAY, "status"], env=told, capture_output=True, check=False)
        if b"/1.0 CPU" in status.stdout:
            break
        time.sleep(1)
    yield told
    subprocess.run([RAY, "stop", "--force"], check=True, capture_output=True)


@pytest.mark.parametrize(("most", "nodes"), [(str(MOST), MOST), ("", 1)])
def test_waves_wait_for_as_many_nodes_as_there_may_be(
    tmp_path: Path, environment: dict[str, str], most: str, nodes: int
) -> None:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    with (tmp_path / "told").open("w") as told:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "sweep", "launch", "--space", "space.yaml", "--address", "auto"],
            cwd=tmp_path, env={**environment, "SWEEP_MAX_NODES": most}, stdout=told, stderr=told,
        )  # fmt: skip
        there = 0
        while sweep.poll() is None:
            pulse = tmp_path / "sweeps" / "grows" / "pulse.json"
            if pulse.is_file():
                there = max(there, len(json.loads(pulse.read_text())["nodes"]) - 1)
            time.sleep(0.2)
    assert sweep.returncode == 0, (tmp_path / "told").read_text()
    assert there == nodes
