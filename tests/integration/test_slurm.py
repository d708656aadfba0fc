"""deploy/slurm/sweep.sbatch on a real Slurm of two nodes: how jobs go on, and how they end."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from tests.conftest import ROOT
from tests.slurm import Slurm, slurm

pytestmark = [pytest.mark.integration, pytest.mark.ray, pytest.mark.slurm, pytest.mark.timeout(600)]

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
OF_RAY = ("raylet", "gcs_server", "ray::")


class Site:
    """A Slurm, and a folder from which somebody submits jobs of sweeps."""

    def __init__(self, server: Slurm, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.home = folder / "sweeps"
        (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PWD": str(folder), "SWEEP_HOME": str(self.home), "SWEEP_CACHE": str(folder / "cache"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "HOME": str(folder),
        }  # fmt: skip

    def submit(
        self, *options: str, name: str = "digits", epochs: int = 25, user: str | None = None,
        **environment: str,
    ) -> str:  # fmt: skip
        """Submit a job for a sweep; return its number. Its nodes have two CPUs for it."""
        default = ("--nodes=1", "--cpus-per-task=2", "--time=10")
        return self.server.run(
            "sbatch", "--parsable", *default, *options, SCRIPT, "space.yaml",
            f"--set=budget.epochs={epochs}", user=user,
            **{**self.environment, "SWEEP_NAME": name, **environment},
        ).strip()  # fmt: skip

    def output(self, job: str) -> str:
        """Return what a job has printed."""
        return (self.folder / f"sweep-{job}.log").read_text()

    def log(self, name: str = "digits") -> str:
        """Return the log of a sweep, empty before it has begun."""
        with suppress(OSError):
            return (self.home / name / "sweep.log").read_text()
        return ""

    def checkpoints(self, name: str = "digits") -> list[Path]:
        """Return the checkpoints of a sweep: with one of them it has something to lose."""
        return list((self.home / name / "checkpoints").glob("*"))

    def wait_for(self, job: str, holds: Callable[[], object]) -> None:
        """Wait until something holds while a job runs."""
        end = time.monotonic() + 180
        while not holds():
            state, code = self.server.state(job)
            assert state in {"PENDING", "CONFIGURING", "RUNNING"}, (code, self.output(job))
            assert time.monotonic() < end, self.output(job)
            time.sleep(0.2)

    def end(self, job: str, *states: str) -> str:
        """Wait for the end of a job; return its exit code. Nothing of it is left then."""
        code = self.server.wait(job, *states)
        end = time.monotonic() + 30
        while left := self.left_of(job):
            assert time.monotonic() < end, left
            time.sleep(0.2)
        return code

    def left_of(self, job: str) -> list[str]:
        """Return what is left of a job: processes of Ray, its folders, its token."""
        found = [str(path) for path in Path("/tmp").glob(f"sweep-{job}-*")]
        found += [str(path) for path in self.home.glob(f".job-{job}-*")]
        found += [str(path) for path in self.home.glob(f".ray-token-{job}")]
        for process in psutil.process_iter(["name", "cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            if process.info["name"].startswith(OF_RAY) and f"sweep-{job}-" in line:
                found.append(line[:200])
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture
def site(server: Slurm, tmp_path: Path) -> Iterator[Site]:
    yield Site(server, tmp_path)
    server.run("scancel", "--full", "--signal=KILL", "--state=RUNNING")


@pytest.mark.soak
def test_two_nodes_train_and_the_last_lines_of_the_log_are_the_result(site: Site) -> None:
    job = site.submit("--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1")
    assert site.end(job, "COMPLETED") == "0:0", site.output(job)
    assert site.log().partition("nodes: ")[2].splitlines()[0].count("CPUs") == 2
    last = "".join(site.output(job).splitlines()[-8:])
    assert "small/full has the highest test score" in last
    assert "raylet" not in site.output(job)  # what Ray says is in a file of its own


def test_a_job_is_drained_before_its_limit_put_back_and_finished(site: Site) -> None:
    # Of so short a limit Slurm warns at once: the script uses all of it but a minute.
    job = site.submit("--time=2", epochs=60)
    site.wait_for(job, site.checkpoints)
    site.end(job, "PENDING")
    assert "pauses" in site.log()
    time.sleep(10)  # Slurm itself waits for two minutes, so that nodes have forgotten the first run
    site.server.run("scontrol", "update", f"jobid={job}", "StartTime=now", "TimeLimit=20")
    assert site.end(job, "COMPLETED") == "0:0", site.output(job)
    assert "the job is put back into the queue and goes on" in site.output(job)  # appended to
    assert "digits: small/full has the highest test score" in site.output(job)


@pytest.mark.soak
def test_scancel_ends_the_job_and_it_does_not_come_back(site: Site) -> None:
    job = site.submit()
    site.wait_for(job, site.checkpoints)
    site.server.run("scancel", job)
    site.end(job, "CANCELLED")
    assert "told to stop by SIGTERM" in site.log()
    time.sleep(3)
    assert site.server.state(job)[0] == "CANCELLED"


@pytest.mark.soak
def test_a_port_that_is_taken_fails_the_job_in_words(site: Site) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        job = site.submit(RAY_PORT=str(other.getsockname()[1]))
        assert site.end(job, "FAILED") == "70:0"
    assert "Ray has not started on 1 nodes" in site.output(job)


@pytest.mark.soak
def test_a_space_that_is_wrong_fails_the_job_with_code_2(site: Site) -> None:
    (site.folder / "space.yaml").write_text("name: digits\n")
    job = site.submit()
    assert site.end(job, "FAILED") == "2:0"
    assert "space.yaml" in site.output(job).splitlines()[-2] + site.output(job).splitlines()[-1]


@pytest.mark.soak
def test_stop_ends_the_job_as_done(site: Site) -> None:
    job = site.submit()
    site.wait_for(job, site.checkpoints)
    stop = [sys.executable, "-m", "sweep", "stop", "digits", "--home", str(site.home)]
    subprocess.run(stop, check=True, capture_output=True)
    assert site.end(job, "COMPLETED") == "0:0"


def test_jobs_side_by_side_on_one_node_do_not_meet(site: Site) -> None:
    node = "--nodelist=node1"
    jobs = {name: site.submit(node, name=name) for name in ("one", "two")}
    site.wait_for(jobs["two"], lambda: site.checkpoints("one") and site.checkpoints("two"))
    site.server.run("scancel", jobs["one"])
    site.end(jobs["one"], "CANCELLED")
    assert site.end(jobs["two"], "COMPLETED") == "0:0", site.output(jobs["two"])
    assert not site.server.run("squeue", "--noheader")


def test_jobs_of_two_users_side_by_side_on_one_node_do_not_meet(site: Site, tmp_path: Path) -> None:
    users = ("daemon", "nobody")
    for user in users:
        try:
            subprocess.run([sys.executable, "-c", "import sweep"], user=user, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip(f"{user} may not run this Python")
    tmp_path.chmod(0o755)
    jobs: dict[str, tuple[Site, str]] = {}
    for user in users:
        folder = tmp_path / user
        folder.mkdir()
        folder.chmod(0o777)
        own = Site(site.server, folder)
        # The cache is one for all, as a group has it.
        cache = tmp_path / "cache"
        cache.mkdir(exist_ok=True)
        cache.chmod(0o1777)
        own.environment["SWEEP_CACHE"] = str(cache)
        jobs[user] = own, own.submit("--nodelist=node1", "--time=60", epochs=2, user=user)
    for own, job in jobs.values():
        assert own.end(job, "COMPLETED") == "0:0", own.output(job)
