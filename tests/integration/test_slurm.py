"""The Slurm script as Slurm would run it: its commands stand in, Ray and sweep are real."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.servers import free_port

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


def test_a_job_is_drained_before_its_limit_requeued_and_finished(tmp_path: Path) -> None:
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name, body in {
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"',
        "scontrol": 'if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> requeued; fi',
        "sweep": f'exec {sys.executable} -m sweep "$@"',
        "python": f'exec {sys.executable} "$@"',
    }.items():
        (stand_ins / name).write_text(f"#!/bin/sh\n{body}\n")
        (stand_ins / name).chmod(0o755)
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    path = f"{stand_ins}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {
        **os.environ, "PATH": path, "SWEEP_HOME": str(tmp_path / "sweeps"), "SWEEP_NAME": "digits",
        "SWEEP_CACHE": str(tmp_path / "cache"), "RAY_PORT": str(free_port()),
        "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "here",
        "SLURM_CPUS_ON_NODE": "2", "PYTHONPATH": str(ROOT),
    }  # fmt: skip

    def job() -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(SCRIPT), "space.yaml"], cwd=tmp_path, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    first, log = job(), tmp_path / "sweeps" / "digits" / "sweep.log"
    while not (log.is_file() and "begins" in log.read_text()):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.2)
    time.sleep(3)
    first.terminate()  # as --signal=B:TERM@300 does, to the batch shell alone
    out, _ = first.communicate(timeout=200)
    assert (tmp_path / "requeued").read_text() == "requeue 7\n", out
    assert not list((tmp_path / "sweeps").glob(".ray-token*"))
    assert "pauses" in log.read_text()
    second = job()
    out, _ = second.communicate(timeout=400)
    assert second.returncode == 0, out
    assert "digits: small/full has the highest test score" in out
