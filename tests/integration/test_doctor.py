"""`sweep doctor`: what there is, what is lacking, and nothing left behind."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from tests.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.ray, pytest.mark.timeout(300)]

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}


def doctor(folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    """Ask in a folder; return what was printed, and what was said of errors."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEP", "MLFLOW"))}
    environment |= {"SWEEP_CACHE": str(folder.parent / "cache"), **TOKEN}
    done = subprocess.run(
        [sys.executable, "-m", "sweep", "doctor", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder in which the command is typed."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def test_a_sound_machine_is_described_and_left_as_it_was(folder: Path) -> None:
    out, _ = doctor(folder)
    assert f"home     {folder / 'sweeps'}" in out
    assert f"torch {torch.__version__}" in out
    assert "Nothing is lacking that every sweep needs." in out
    assert list(folder.iterdir()) == []


def test_all_that_is_lacking_is_named_at_once(folder: Path) -> None:
    server = f"http://127.0.0.1:{free_port()}"
    places = ["--data-root", "no_data", "--weights-dir", "no_weights", "--tracking-uri", server]
    out, err = doctor(folder, *places, "--json", code=2)
    found = json.loads(out)
    assert [len(node["lacks"]) for node in found["nodes"]] == [2]
    assert found["nodes"][0]["cpus"] >= 1
    assert err.startswith("Error: something is lacking:")
    for text in (
        "no_data: there is no such folder",
        "no_weights: there is no",
        f"MLflow at {server}",
    ):
        assert text in err


def test_a_home_that_cannot_be_made_is_one_message(folder: Path) -> None:
    (folder / "file").touch()
    _, err = doctor(folder, "--home", "file/sweeps", code=2)
    assert "Not a directory" in err


def test_a_cluster_that_is_down_is_one_message(folder: Path) -> None:
    _, err = doctor(folder, "--address", f"127.0.0.1:{free_port()}", code=2)
    assert "cannot reach the Ray cluster at 127.0.0.1:" in err


@contextmanager
def head(*options: str) -> Iterator[str]:
    """Start the head of a cluster; yield its address."""
    port, ray = free_port(), Path(sys.executable).with_name("ray")
    subprocess.run(
        [ray, "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}",
         "--include-dashboard=false", "--object-store-memory=80000000", "--disable-usage-stats",
         *options],
        check=True, capture_output=True, env={**os.environ, **TOKEN},
    )  # fmt: skip
    try:
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([ray, "stop", "--force"], check=True, capture_output=True)


def test_a_cluster_without_cpus_for_waves_is_told(folder: Path) -> None:
    with head("--num-cpus=0") as address:
        _, err = doctor(folder, "--address", address, code=2)
    assert "no node of the cluster has a CPU for waves" in err
