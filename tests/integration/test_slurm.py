"""The Slurm script as Slurm would run it: its commands stand in, Ray and sweep are real."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.timeout(600)]

SCRIPT = ROOT / "deploy" / "slurm" / "sweep.sbatch"
SPACE = {
    "name": "digits",
    "datasets": ["digits"],
    "backbones": [{"name": "small", "model": "test_efficientnet", "weights": "none"}],
    "freeze": ["full"],
    "image_size": 32,
    "budget": {"trials": 2, "epochs": 25, "pruner": "none"},
    "seeds": 1,
    "edges": "keep",
}


class Slurm:
    """The commands of Slurm as stand-ins, in a folder from which jobs are submitted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stand_ins = folder, folder / "bin"
        self.log = folder / "sweeps" / "digits" / "sweep.log"
        self.stand_ins.mkdir()
        for name, body in {
            "scontrol": 'if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> requeued; fi',
            "squeue": "exit 1",
            "sweep": f'exec {sys.executable} -m sweep "$@"',
            "python": f'exec {sys.executable} "$@"',
        }.items():
            (self.stand_ins / name).write_text(f"#!/bin/sh\n{body}\n")
            (self.stand_ins / name).chmod(0o755)
        (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
        path = f"{self.stand_ins}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {
            **os.environ, "PATH": path, "SWEEP_HOME": str(folder / "sweeps"),
            "SWEEP_NAME": "digits", "SWEEP_CACHE": str(folder / "cache"),
            "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "1",
            "SLURM_JOB_NODELIST": "here", "SLURM_CPUS_ON_NODE": "2", "PYTHONPATH": str(ROOT),
        }  # fmt: skip

    def job(self, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(SCRIPT), "space.yaml"], cwd=self.folder, text=True,
            env={**self.environment, **environment}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def wait_for_progress(self, job: subprocess.Popen[str]) -> None:
        checkpoints = self.log.parent / "checkpoints"
        while not (checkpoints.is_dir() and any(checkpoints.iterdir())):
            assert job.poll() is None, job.communicate()[0]
            time.sleep(0.2)


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path)


def test_a_job_is_drained_before_its_limit_requeued_and_finished(slurm: Slurm) -> None:
    first, log = slurm.job(), slurm.log
    slurm.wait_for_progress(first)
    first.send_signal(signal.SIGUSR1)  # as --signal=B:USR1@300 does, to the batch shell alone
    out, _ = first.communicate(timeout=200)
    assert (slurm.folder / "requeued").read_text() == f"requeue {os.getpid()}\n", out
    assert not [
        p for p in (slurm.folder / "sweeps").iterdir() if p.name.startswith((".ray", ".job"))
    ]
    assert "pauses" in log.read_text()
    second = slurm.job()
    out, _ = second.communicate(timeout=400)
    assert second.returncode == 0, out
    assert "digits: small/full has the highest test score" in out
    assert "raylet" not in out  # what Ray says is in a file of its own


def test_scancel_ends_the_job_and_puts_nothing_back(slurm: Slurm) -> None:
    job, log = slurm.job(), slurm.log
    slurm.wait_for_progress(job)
    job.terminate()
    out, _ = job.communicate(timeout=100)
    assert job.returncode == 143, out
    assert not (slurm.folder / "requeued").exists()
    assert "told to stop by SIGTERM" in log.read_text()


def test_a_port_that_is_taken_fails_the_job_in_words(slurm: Slurm) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        job = slurm.job(RAY_PORT=str(other.getsockname()[1]))
        out, _ = job.communicate(timeout=200)
    assert job.returncode == 70, out
    assert "Ray has not started on 1 nodes" in out


def test_stop_ends_the_job_as_done(slurm: Slurm) -> None:
    job = slurm.job()
    slurm.wait_for_progress(job)
    subprocess.run([slurm.stand_ins / "sweep", "stop", "digits"], env=slurm.environment, check=True)
    out, _ = job.communicate(timeout=100)
    assert job.returncode == 0, out
    assert not (slurm.folder / "requeued").exists()
