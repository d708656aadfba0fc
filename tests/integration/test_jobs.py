"""A cluster of two nodes, driven through Ray's Jobs API with a token; a node leaves."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.conftest import write_images
from tests.running import MARK
from tests.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(900)]

TOKEN = "89abcdef" * 8
RAY = str(Path(sys.executable).with_name("ray"))
SPACE = {
    "name": "digits",
    "datasets": ["digits"],
    "backbones": [{"name": "small", "model": "test_efficientnet", "weights": "none"}],
    "freeze": ["full"],  # two trials at once from the first moment to the last
    "image_size": 32,
    "budget": {"trials": 4, "epochs": 12, "pruner": "none"},
    "seeds": 2,
    "edges": "keep",
}


class Cluster:
    """A head on loopback, and further nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.dashboard = folder, free_port(), free_port()
        self.http = f"http://127.0.0.1:{self.dashboard}"
        # What the nodes know; nothing of it is in the environment of those who submit.
        self.of_nodes = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "SWEEP_CACHE": str(folder / "cache"),
            "PATH": os.defpath,  # where no `python` has sweep
            "SWEEP_PYTHON": sys.executable,
            MARK: uuid.uuid4().hex,
        }
        self.nodes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        node = subprocess.Popen(
            [*before, RAY, "start", "--block", "--num-cpus=1", "--node-ip-address=127.0.0.1",
             "--object-store-memory=80000000", "--disable-usage-stats",
             f"--dashboard-agent-listen-port={free_port()}", *arguments],
            env=self.of_nodes, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.nodes.append(node)
        return node

    def start_head(self) -> None:
        self.start("--head", f"--port={self.port}", f"--dashboard-port={self.dashboard}")
        self.wait_for(1)

    def join(self, *options: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        node = self.start(f"--address=127.0.0.1:{self.port}", *options, before=before)
        self.wait_for(len(self.nodes))
        return node

    def wait_for(self, count: int) -> None:
        code = (
            f"import ray; ray.init('127.0.0.1:{self.port}', logging_level='ERROR'); "
            f"import sys; sys.exit(sum(n['Alive'] for n in ray.nodes()) != {count})"
        )
        for _ in range(30):
            if not subprocess.run([sys.executable, "-c", code], env=self.of_nodes, check=False,
                                  capture_output=True).returncode:  # fmt: skip
                return
            time.sleep(1)
        raise AssertionError(f"{count} nodes have not come up")

    def leave(self, node: subprocess.Popen[bytes]) -> None:
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()
        self.nodes.remove(node)
        self.wait_for(len(self.nodes))

    def sweep(
        self, *arguments: str, code: int = 0, token: str = TOKEN, address: str | None = None
    ) -> str:
        """Type a command as somebody elsewhere would; return what it printed."""
        environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        done = subprocess.run(
            [sys.executable, "-m", "sweep", *arguments, "--address", address or self.http],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr


def beat(folder: Path) -> dict[str, Any]:
    """Return what the driver of a sweep has last written of it."""
    return dict(json.loads((folder / "pulse.json").read_text()))


def wait_until(holds: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for what takes seconds to come true; files may not be there yet."""
    for _ in range(int(5 * seconds)):
        with contextlib.suppress(FileNotFoundError):
            if holds():
                return
        time.sleep(0.2)
    raise AssertionError("it has not come true")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    (cluster.folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    cluster.start_head()
    yield cluster
    subprocess.run([RAY, "stop", "--force"], check=False, capture_output=True)


@pytest.fixture(scope="module")
def data(cluster: Cluster) -> Path:
    """Images that the head has, and a space for them."""
    data = cluster.folder / "data"
    write_images(data / "skin" / "a", 12, 60)
    write_images(data / "skin" / "b", 12, 190)
    dataset = {"name": "skin", "layout": "folder", "path": "skin"}
    document = {**SPACE, "name": "skin", "datasets": [dataset]}
    (cluster.folder / "skin.yaml").write_text(yaml.safe_dump(document))
    return data


def join_without(cluster: Cluster, data: Path) -> subprocess.Popen[bytes]:
    """Let a node join that sees an empty folder where the head has the data."""
    if shutil.which("unshare") is None or os.getuid() != 0:
        pytest.skip("a node with another file system needs unshare and root")
    hides = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {data} && exec "$@"', "sh")
    return cluster.join(before=hides)


def test_what_a_node_lacks_is_told_before_the_first_trial(cluster: Cluster, data: Path) -> None:
    node = join_without(cluster, data)
    told = cluster.sweep("launch", "--space", "skin.yaml", "--data-root", str(data), code=2)
    assert "skin" in told.partition("the nodes of the cluster lack what the sweep needs")[2]
    assert not (cluster.folder / "sweeps" / "skin").exists()
    told = cluster.sweep("doctor", "--data-root", str(data / "skin"), code=2)
    assert re.search(r"\n  on [^,]*\([0-9a-f]{8}\): --data-root .* there is no such folder", told)
    cluster.leave(node)


def test_a_sweep_runs_on_both_nodes_one_leaves_and_it_finishes(cluster: Cluster) -> None:
    cluster.wait_for(1)
    node = cluster.join()
    told = cluster.sweep("launch", "--space", "space.yaml", "--detach")
    assert "submitted as job" in told
    folder = cluster.folder / "sweeps" / "digits"
    wait_until(lambda: "small/full: trial 1 begins" in (folder / "sweep.log").read_text())
    wait_until(lambda: (len(beat(folder)["nodes"]), beat(folder)["used"]["CPU"]) == (2, 2))
    cluster.leave(node)
    for _ in range(100):
        status = json.loads(cluster.sweep("status", "digits", "--json"))
        if status["state"] != "running":
            break
    assert status["state"] == "finished"
    assert [cell["states"] for cell in status["cells"]] == [{"complete": 4}]
    assert [cell["confirmations"] for cell in status["cells"]] == [2]
    # A wave that was training there is tried again; one that was about to start just moves.
    assert len(beat(folder)["nodes"]) == 1


def test_a_node_that_joins_gets_its_share_of_the_waves(cluster: Cluster) -> None:
    cluster.sweep("launch", "--space", "space.yaml", "--name", "growing", "--detach",
                  "--set", "budget.epochs=200")  # fmt: skip
    folder = cluster.folder / "sweeps" / "growing"
    wait_until(lambda: "begins" in (folder / "sweep.log").read_text())
    node = cluster.join()
    wait_until(lambda: beat(folder)["used"]["CPU"] == 2)
    assert len((folder / "sweep.log").read_text().rpartition("nodes: ")[2].split("), ")) == 2
    cluster.sweep("stop", "growing")
    cluster.leave(node)


@pytest.mark.parametrize("waiting", [False, True], ids=["no wave waits", "a wave waits for it"])
def test_a_node_that_joins_without_the_data_harms_nothing(
    cluster: Cluster, data: Path, waiting: bool
) -> None:
    name = f"skin{int(waiting)}"
    most = {"SWEEP_MAX_NODES": "2"} if waiting else {}
    launched = subprocess.Popen(
        [sys.executable, "-m", "sweep", "launch", "--space", "skin.yaml", "--name", name,
         "--data-root", str(data), "--address", f"127.0.0.1:{cluster.port}",
         "--set", "budget.epochs=200", "--set", "budget.trials=6"],
        cwd=cluster.folder, env={**cluster.of_nodes, **most},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder = cluster.folder / "sweeps" / name
    wait_until(lambda: "begins" in (folder / "sweep.log").read_text())
    node = join_without(cluster, data)
    assert launched.wait(timeout=300) == 0
    log = (folder / "sweep.log").read_text()
    assert re.search("gets no waves: dataset skin: .*skin", log)
    assert waiting or "tried again" not in log
    records = [json.loads(path.read_text()) for path in (folder / "runs").glob("*.json")]
    assert [record["state"] for record in records] == ["complete"] * (6 + 2 + 1)
    cluster.leave(node)


def test_results_are_read_from_anywhere(cluster: Cluster) -> None:
    told = cluster.sweep("compare", "digits", "--format", "json", "--margin", "0.02")
    answer = json.loads(told.partition("Note:")[0])
    assert {cell["freeze"] for cell in answer["cells"]} == {"full"}
    cluster.sweep("compare", "digits", "--format", "parquet", "--output", "table.parquet")
    assert (cluster.folder / "table.parquet").read_bytes().startswith(b"PAR1")


def test_resume_follows_the_log_and_takes_a_larger_budget(cluster: Cluster) -> None:
    told = cluster.sweep("resume", "digits", "--set", "budget.trials=5")
    assert "digits: small/full has the highest test score" in told
    status = json.loads(cluster.sweep("status", "digits", "--json"))
    assert [cell["trials"] for cell in status["cells"]] == [5]


def test_stop_from_elsewhere_drains_the_sweep(cluster: Cluster) -> None:
    cluster.sweep("launch", "--space", "space.yaml", "--name", "long", "--detach",
                  "--set", "budget.epochs=200")  # fmt: skip
    folder = cluster.folder / "sweeps" / "long"
    wait_until(lambda: "begins" in (folder / "sweep.log").read_text())
    assert "stopped; go on with: sweep resume long" in cluster.sweep("stop", "long")
    assert "interrupted" in cluster.sweep("status", "long")


def test_the_exit_code_and_the_message_of_a_refusal_come_back(cluster: Cluster) -> None:
    told = cluster.sweep("launch", "--space", "space.yaml", code=2)
    assert "the sweep digits in" in told
    assert "is finished" in told
    assert "no sweep 'digit' under" in cluster.sweep("status", "digit", code=2)


def test_a_wrong_token_is_one_message(cluster: Cluster) -> None:
    told = cluster.sweep("status", token="0" * 64, code=2)
    assert "does not take this token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in told


def test_a_head_that_is_down_is_one_message(cluster: Cluster) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    assert f"no head answers at {address}" in cluster.sweep("status", code=2, address=address)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"hello", "is not Ray's dashboard (HTTP 200)"),
        (b'{"ray_version": "1.0.0"}', "1.0.0 at http://127.0.0.1"),
    ],
)
def test_a_stranger_or_another_version_is_one_message(
    cluster: Cluster, body: bytes, told: str
) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert told in cluster.sweep("status", code=2, address=address)
        server.shutdown()


def test_a_password_does_not_travel(cluster: Cluster) -> None:
    uri = "http://user:hunter2@127.0.0.1:5000"
    launch = ("launch", "--space", "space.yaml", "--name", "x", "--tracking-uri", uri)
    told = cluster.sweep(*launch, code=2)
    assert "a password in a URL would be shown" in told
    assert "hunter2" not in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU here")
def test_doctor_tells_of_gpus_that_torch_does_not_see(cluster: Cluster) -> None:
    node = cluster.join("--num-gpus=1")
    assert "Ray counts 1 GPUs, and torch" in cluster.sweep("doctor", code=2)
    cluster.leave(node)


def test_a_gpu_is_shared_by_what_was_measured(cluster: Cluster) -> None:
    # Ray believes in the GPU; the memory that is measured is that of the process.
    node = cluster.join("--num-gpus=1", "--labels", "sweep/gpu-memory-mib=12000")
    cluster.sweep("launch", "--space", "space.yaml", "--name", "gpu")
    log = cluster.sweep("logs", "gpu", "digits/small/full")
    shares = re.findall(r"its wave gets \d+ CPUs, ([\d.]+) of a GPU", log)
    assert shares[0] == "0.25"  # an estimate
    records = (cluster.folder / "sweeps" / "gpu" / "runs").glob("*.json")
    facts = [json.loads(path.read_text())["facts"] for path in records]
    peak = max(fact["reserved_memory_mib"] for fact in facts)
    least = math.floor(1e4 / min(8, math.floor(12_000 / (peak * 1.25 + 600)))) / 1e4
    assert 0.125 <= float(shares[-1]) <= least
    assert shares[-1] != "0.25" or least == 0.25
    cluster.leave(node)
