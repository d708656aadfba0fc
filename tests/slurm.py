"""A real Slurm on this machine for a test: munge, the controller, two nodes."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import free_port, process

_PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "scontrol", "pkill")
_ENDS = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
_CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,sched_min_interval=200000
JobRequeue=1
KillWait=30
OverTimeLimit=0
ReturnToService=2
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[0]} CPUs=4 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


@dataclass(frozen=True)
class Slurm:
    """A running Slurm; `environment` is what its commands need."""

    environment: dict[str, str]

    def run(self, *command: str | Path, user: str | None = None, **environment: str) -> str:
        """Run a command of Slurm, as somebody if need be; return what it printed."""
        done = subprocess.run(
            list(map(str, command)), env={**self.environment, **environment}, user=user,
            umask=0 if user else -1, cwd=environment.get("PWD"), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert not done.returncode, done.stdout + done.stderr
        return done.stdout

    def state(self, job: str) -> tuple[str, str]:
        """Return the state of a job and its exit code, as ``scontrol show job`` tells them."""
        about = dict(
            item.split("=", 1)
            for item in self.run("scontrol", "show", "job", job).split()
            if "=" in item
        )
        return about["JobState"], about["ExitCode"]

    def wait(self, job: str, *states: str, seconds: float = 300) -> str:
        """Wait until a job is in one of some states; return its exit code."""
        end = time.monotonic() + seconds
        while True:
            state, code = self.state(job)
            if state in states:
                return code
            assert state not in _ENDS, (state, code)
            assert time.monotonic() < end, (state, code)
            time.sleep(0.5)


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Start Slurm with the nodes ``node1`` and ``node2`` of four CPUs each."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing or os.getuid() != 0:
        pytest.skip(f"a Slurm needs root and {', '.join(missing)} (Debian: slurm-wlm, munge)")
    for name in ("state", "spool-node1", "spool-node2"):
        (folder / name).mkdir(parents=True)
    for parent in (folder, *folder.parents[:-1]):  # other users run jobs, too
        parent.chmod(parent.stat().st_mode | 0o755)
    configuration = folder / "slurm.conf"
    ports = [free_port(), free_port()]
    configuration.write_text(
        _CONFIGURATION.format(
            host=socket.gethostname(), folder=folder, port=free_port(), ports=ports
        )
    )
    key, munge = folder / "munge.key", folder / "munge.socket"
    subprocess.run(["mungekey", "--create", f"--keyfile={key}"], check=True)
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    with ExitStack() as servers:

        def start(*command: str) -> None:
            servers.enter_context(process(list(command), folder / "log", env=environment))

        start("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}",
              f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
              f"--seed-file={folder}/munged.seed")  # fmt: skip
        _wait_until(munge.exists)
        start("slurmctld", "-D")
        start("slurmd", "-D", "-N", "node1")
        start("slurmd", "-D", "-N", "node2")
        running = Slurm(environment)
        _wait_until(lambda: _idle(running) == 2)
        yield running
        subprocess.run(["scancel", "--full", "--signal=KILL", "--user=root"], env=environment,
                       check=False, capture_output=True)  # fmt: skip


def _idle(running: Slurm) -> int:
    try:
        return running.run("sinfo", "--noheader", "--Node", "--format=%T").split().count("idle")
    except AssertionError:
        return 0


def _wait_until(holds) -> None:  # type: ignore[no-untyped-def]
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("Slurm has not started")
