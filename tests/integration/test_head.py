"""A head that dies while somebody elsewhere follows its sweep, waits for it or asks it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from tests.integration.test_jobs import SPACE, Cluster, wait_until
from tests.running import MARK, marked

pytestmark = [pytest.mark.integration, pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    cluster.start_head()
    yield cluster
    die(cluster)


def die(cluster: Cluster) -> None:
    """Let the machine of the head die: all of its processes at once."""
    for process in marked(cluster.of_nodes[MARK]):
        with suppress(psutil.Error):
            process.kill()
    for node in cluster.nodes:
        node.wait()
    cluster.nodes.clear()


def hang(cluster: Cluster) -> None:
    """Let it be there and answer nothing, as a machine does that has lost its power or network."""
    for process in marked(cluster.of_nodes[MARK]):
        process.suspend()


def follow(cluster: Cluster, *arguments: str) -> subprocess.Popen[str]:
    """Type a command somewhere else."""
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "89abcdef" * 8}
    return subprocess.Popen(
        [sys.executable, "-m", "sweep", *arguments, "--address", cluster.http],
        cwd=cluster.folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("end", [die, hang])
def test_a_head_that_is_gone_ends_the_following_with_code_3_and_the_sweep_goes_on_when_it_is_back(
    cluster: Cluster, end: Callable[[Cluster], None]
) -> None:
    process = follow(cluster, "launch", "--space", "space.yaml")
    folder = cluster.folder / "sweeps" / "digits"
    wait_until(lambda: any((folder / "checkpoints").iterdir()), 240)
    end(cluster)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 3, out + err
    assert "Traceback" not in err
    assert "the connection to the head at" in err
    assert f"sweep resume digits --address {cluster.http}" in err
    die(cluster)
    assert "no head answers" in cluster.sweep("status", "digits", code=2)
    cluster.start_head()
    assert "interrupted" in cluster.sweep("status", "digits")
    assert "test split" in cluster.sweep("resume", "digits")


def test_a_head_that_dies_during_the_checks_of_a_detached_launch_is_told(cluster: Cluster) -> None:
    process = follow(cluster, "launch", "--space", "space.yaml", "--detach")
    assert process.stderr
    assert "submitted as job" in process.stderr.readline()
    die(cluster)
    out, err = process.communicate(timeout=150)
    assert process.returncode == 3, out + err
    assert "Traceback" not in err


def test_a_head_that_dies_while_it_is_asked_is_told(cluster: Cluster) -> None:
    process = follow(cluster, "doctor")
    time.sleep(6)
    die(cluster)
    out, err = process.communicate(timeout=150)
    assert process.returncode == 2, out + err
    assert "Traceback" not in err
