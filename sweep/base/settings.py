"""Every variable of the environment by which `sweep` is set, and what holds without it.

| variable | sets |
|---|---|
| SWEEP_HOME | where sweeps are kept; else ``./sweeps`` |
| SWEEP_CACHE | decoded images and features; else ``~/.cache/sweep`` |
| SWEEP_DATA | where relative paths of datasets start; else the current folder |
| SWEEP_WEIGHTS | where files of weights are |
| SWEEP_ADDRESS | the Ray cluster; else this machine |
| MLFLOW_TRACKING_URI | MLflow; else ``./mlflow.db`` |
| SWEEP_MLFLOW_MODELS | what MLflow gets at a sweep's end besides its runs: ``best``, the figures
of every cell and the model of the best one of each data set; ``all`` models; or ``none`` of both |
| SWEEP_MAX_NODES | how many nodes an autoscaler may start |
| SWEEP_WAIT_FOR_NODES | how long a sweep waits for a node, in seconds |
| SWEEP_MAX_SILENCE | after how many seconds without a sign a worker is taken for stalled |
| SWEEP_MAX_PIXELS | above how many pixels a picture is taken for a decompression bomb |
| SWEEP_PYTHON | on the head of a cluster: the Python that has `sweep` |
"""

import os
from pathlib import Path

from sweep.errors import SweepError

HOME = "SWEEP_HOME"
CACHE = "SWEEP_CACHE"
DATA = "SWEEP_DATA"
WEIGHTS = "SWEEP_WEIGHTS"
ADDRESS = "SWEEP_ADDRESS"
TRACKING = "MLFLOW_TRACKING_URI"
MODELS = "SWEEP_MLFLOW_MODELS"
MAX_NODES = "SWEEP_MAX_NODES"
WAIT_FOR_NODES = "SWEEP_WAIT_FOR_NODES"
MAX_SILENCE = "SWEEP_MAX_SILENCE"
MAX_PIXELS = "SWEEP_MAX_PIXELS"
PYTHON = "SWEEP_PYTHON"


def default_home() -> Path:
    """Return ``$SWEEP_HOME``, else ``./sweeps``."""
    return Path(os.environ.get(HOME) or "sweeps").expanduser()


def default_cache() -> Path:
    """Return ``$SWEEP_CACHE``, else ``~/.cache/sweep``: safe to delete, shared by all sweeps."""
    return own_cache() or Path("~/.cache/sweep").expanduser()


def own_cache() -> Path | None:
    """Return ``$SWEEP_CACHE``, which a node of a cluster may have for itself."""
    text = os.environ.get(CACHE)
    return Path(text).expanduser() if text else None


def default_data_root() -> Path:
    """Return ``$SWEEP_DATA``, else the current folder."""
    return Path(os.environ.get(DATA) or ".")


def default_weights_dir() -> Path | None:
    """Return ``$SWEEP_WEIGHTS``, or None."""
    text = os.environ.get(WEIGHTS)
    return Path(text) if text else None


def given_tracking_uri() -> str:
    """Return ``$MLFLOW_TRACKING_URI``, or an empty text."""
    return os.environ.get(TRACKING) or ""


def default_tracking_uri() -> str:
    """Return ``$MLFLOW_TRACKING_URI``, else MLflow's own default in the current folder."""
    return given_tracking_uri() or f"sqlite:///{Path('mlflow.db').absolute()}"


def models_for_mlflow() -> str:
    """Return ``$SWEEP_MLFLOW_MODELS``, else ``best``.

    Raises SweepError if it is none of ``best``, ``all`` and ``none``.
    """
    text = os.environ.get(MODELS) or "best"
    if text not in ("best", "all", "none"):
        raise SweepError(f"{MODELS} is {text!r}: it must be best, all or none")
    return text


def whole_number(variable: str, what: str, default: float) -> float:
    """Return the number that a variable holds, or the default where it is not set.

    Raises SweepError if it is no whole number of `what`.
    """
    text = os.environ.get(variable) or ""
    if text and not text.isdecimal():
        raise SweepError(f"{variable} is {text!r}: it must be a number of {what}")
    return float(text) if text else default
