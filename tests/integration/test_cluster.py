"""A sweep on a Ray cluster that runs already: its address, or a client's."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.ray, pytest.mark.timeout(600)]

AUTHENTICATION = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
RAY = str(Path(sys.executable).with_name("ray"))
SPACE = {
    "datasets": ["digits"],
    "backbones": [{"name": "small", "model": "test_efficientnet", "weights": "none"}],
    "freeze": ["frozen"],
    "image_size": 32,
    "budget": {"trials": 4, "epochs": 3},
    "seeds": 1,
    "edges": "keep",
}


@pytest.fixture(scope="module")
def head() -> Iterator[dict[str, str]]:
    """Start a head on loopback; return the addresses at which it is reached."""
    port, client = free_port(), free_port()
    subprocess.run(
        [RAY, "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}",
         f"--ray-client-server-port={client}", "--include-dashboard=false", "--num-cpus=2",
         "--object-store-memory=100000000", "--disable-usage-stats"],
        check=True, capture_output=True, env={**os.environ, **AUTHENTICATION},
    )  # fmt: skip
    yield {"client": f"ray://127.0.0.1:{client}", "auto": "auto"}
    subprocess.run([RAY, "stop", "--force"], check=True, capture_output=True)


@pytest.mark.parametrize("kind", ["auto", "client"])
def test_a_sweep_runs_on_a_running_cluster(tmp_path: Path, head: dict[str, str], kind: str) -> None:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({"name": kind, **SPACE}))
    environment = {**os.environ, **AUTHENTICATION, "SWEEP_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "sweep", "launch", "--space", "space.yaml", "--address", head[kind]],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "digits: small/frozen has the highest test score" in done.stdout
    assert len(list((tmp_path / "sweeps" / kind / "runs").glob("*.json"))) == 4 + 1 + 1
