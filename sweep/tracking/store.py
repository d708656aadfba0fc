"""The tracking store of MLflow: where it is, and whether it takes what is sent."""

import logging
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

# MLflow reads these when it is imported: an outage must not delay the end of a sweep.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

import sqlalchemy
from mlflow import MlflowClient

from sweep.base.addresses import usable_address, without_password
from sweep.base.atomic import write_new
from sweep.errors import SweepError

_DATABASES = ("postgresql", "mysql", "mssql")
_REFUSALS = (  # messages of an HTTP server, of PostgreSQL and of MLflow itself
    "error code 401",
    "error code 403",
    "error code 404",
    "not authenticated",
    "Permission denied",
    "password authentication failed",
    "Invalid Host header",
    "UnsupportedModelRegistryStoreURIException",
    "Model registry functionality is unavailable",
    "No module named",
    "OperationalError) table",  # SQLite raises this for some tables, see `make_database`
    "out-of-date database schema",
    "Can't locate revision",
    "filesystem tracking backend",
    "file is not a database",
)
_ACCESS = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, "
    "or give another --tracking-uri"
)
_FILE = "sqlite:///"

for _name in ("mlflow", "alembic"):  # MLflow sets these levels when it is imported
    logging.getLogger(_name).setLevel(logging.ERROR)


def refuse_tracking(uri: str, sweep: str | None = None) -> str | None:
    """Raise SweepError if a tracking server answers that it will take nothing from us.

    Args:
        sweep: name of the sweep, whose experiment is then written to, if it is there.

    Returns why it does not answer; None if it does. That is no reason to wait: results are kept
    until it does.
    """
    text = trouble(uri, sweep)
    how = advice(uri, text or "", sweep)
    if how is None:
        return text
    raise SweepError(f"MLflow at {without_password(uri)} refuses us: {text}; {how}")


def advice(uri: str, text: str, sweep: str | None = None) -> str | None:
    """Return what to do where a store says that it will take nothing from us, else None.

    Args:
        text: what it says.
        sweep: name of the sweep whose experiment was written to.
    """
    if not any(sign in text for sign in _REFUSALS):
        return None
    elsewhere = "or give another --tracking-uri"
    for signs, how in (
        (["Invalid Host header"], "start it with --allowed-hosts that names the host it has"),
        (["OperationalError) table"],
         f"MLflow was killed while it made {_place(uri)}: move that away, {elsewhere}"),
        (["schema", "revision"], f"run 'mlflow db upgrade' on it, {elsewhere}"),
        (["filesystem"], "give a database, such as sqlite:///mlflow.db, as --tracking-uri"),
    ):  # fmt: skip
        if any(sign in text for sign in signs):
            return how
    if sweep and "experiment" in text.lower():
        return f"{_ACCESS}; or launch under another --name, if {sweep} is somebody else's there"
    return _ACCESS


def _place(uri: str) -> str:
    return uri.removeprefix(_FILE) if uri.startswith(_FILE) else "its database"


def trouble(uri: str, sweep: str | None = None) -> str | None:
    """Return why nothing can be sent to a tracking server now, without passwords.

    Args:
        sweep: name of the sweep, whose experiment is then written to, if it is there.
    """
    if is_missing_file(uri):  # the file is created when there is something to send
        return None
    try:
        if uri.startswith(_DATABASES):  # MLflow itself would try for minutes
            sqlalchemy.create_engine(usable_address(uri)).connect().close()
        client = client_of(uri)
        client.search_experiments(max_results=1)
        experiment = client.get_experiment_by_name(sweep) if sweep else None
        if experiment is not None and experiment.lifecycle_stage == "active":
            client.set_experiment_tag(experiment.experiment_id, "sweep.name", sweep)
    except Exception as error:  # the server or the network may fail in many ways
        return without_password(" ".join(str(error).split())[:300])
    return None


def client_of(uri: str) -> MlflowClient:
    """Return a client of a tracking store, whose address may have been kept without a password."""
    return MlflowClient(tracking_uri=usable_address(uri))


def is_missing_file(uri: str) -> bool:
    """Tell whether a store is a file of SQLite that is not there."""
    return uri.startswith(_FILE) and not Path(uri.removeprefix(_FILE)).is_file()


def make_database(uri: str) -> None:
    """Make the file of a store whole, if it is a file of SQLite and is not there.

    MLflow (3.17) makes its tables in some sixty steps, and can neither go on after some of them
    nor begin anew: a process that is killed meanwhile would leave a file that takes nothing.
    """
    if not is_missing_file(uri):
        return
    with TemporaryDirectory() as folder:
        made = Path(folder) / "mlflow.db"
        MlflowClient(tracking_uri=f"{_FILE}{made}").search_experiments(max_results=1)
        write_new(Path(uri.removeprefix(_FILE)), lambda path: shutil.copyfile(made, path))
