"""Real servers on loopback for tests: PostgreSQL, MLflow, an S3-compatible store."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest


def free_port() -> int:
    """Return a port of loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(
    command: list[str], log: Path, stop: signal.Signals = signal.SIGTERM, **options: object
) -> Iterator[None]:
    """Run a server for as long as it is needed; `stop` ends it."""
    with log.open("ab") as file:
        running = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, **options
        )  # type: ignore[call-overload]
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, stop)
        running.wait(timeout=30)


def wait_for(url: str, log: Path) -> None:
    """Wait until a server answers, whatever it says."""
    for _ in range(600):
        with suppress(URLError, ConnectionError, TimeoutError):
            try:
                urlopen(url, timeout=2).close()
            except HTTPError:
                return
            return
        time.sleep(0.1)
    raise AssertionError(f"{url} does not answer: {log.read_text()[-2000:]}")


class PostgreSQL:
    """A server of PostgreSQL, run as an ordinary user; `url` names no database.

    Its password is in PGPASSWORD, as a user would have it.
    """

    def __init__(self, folder: Path) -> None:
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not binaries:
            pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
        folder.mkdir(parents=True)
        self._folder, self._programs = folder, binaries[-1].parent
        self._options: dict[str, object] = {"cwd": folder}
        secret, self._port = folder / "password", free_port()
        secret.write_text("tests only")
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            for parent in (folder, *folder.parents):
                with suppress(PermissionError):
                    parent.chmod(parent.stat().st_mode | 0o755)
            shutil.chown(folder, "nobody")
            shutil.chown(secret, "nobody")
            self._options["user"] = "nobody"
        self._run("initdb", "--username=sweep", f"--pwfile={secret}", "--auth=scram-sha-256",
                  "--no-sync")  # fmt: skip
        self.url = f"postgresql://sweep@127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-h 127.0.0.1 -p {self._port} -k {self._folder} -c fsync=off"
        self._run("pg_ctl", "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        """Stop it: ``fast`` ends transactions in an orderly way, ``immediate`` as a crash does."""
        self._run("pg_ctl", "-w", "-m", how, "stop")

    def create(self, name: str) -> str:
        """Make a database; return its URL."""
        import sqlalchemy

        engine = sqlalchemy.create_engine(f"{self.url}/postgres", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f'CREATE DATABASE "{name}"'))
        engine.dispose()
        return f"{self.url}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._programs / program, "-D", self._folder / "data", *arguments]
        # Into a file: what it starts would hold a pipe open.
        with (self._folder / "commands.log").open("ab") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, **self._options)  # type: ignore[call-overload]


@contextmanager
def postgresql(folder: Path) -> Iterator[PostgreSQL]:
    """Start PostgreSQL for as long as it is needed."""
    server = PostgreSQL(folder)
    server.start()
    os.environ["PGPASSWORD"] = "tests only"
    try:
        yield server
    finally:
        os.environ.pop("PGPASSWORD", None)
        server.stop()


@contextmanager
def s3_store(folder: Path) -> Iterator[dict[str, str]]:
    """Start an S3-compatible server with a bucket `mlflow`; yield the environment to reach it."""
    pytest.importorskip("moto", reason="needs moto[server,s3]")
    import boto3

    folder.mkdir(parents=True)
    port, log = free_port(), folder / "log"
    environment = {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "only",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with process(command, log):
        wait_for(environment["MLFLOW_S3_ENDPOINT_URL"], log)
        keys = {name.lower(): environment[name] for name in list(environment)[:2]}
        client = boto3.client("s3", endpoint_url=environment["MLFLOW_S3_ENDPOINT_URL"],
                              region_name="us-east-1", **keys)  # fmt: skip
        client.create_bucket(Bucket="mlflow")
        yield environment


@contextmanager
def mlflow_server(folder: Path, *options: str, **environment: str) -> Iterator[str]:
    """Start an MLflow server with these options; yield its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
               "--workers", "1", *options]  # fmt: skip
    with process(command, log, cwd=folder, env={**os.environ, **environment}):
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/health", log)
        yield url
