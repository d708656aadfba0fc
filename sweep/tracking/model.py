"""Networks as models of MLflow, which load without this package."""

import io
import logging
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

# It must precede mlflow, as it limits how long MLflow waits.
from sweep.tracking.store import client_of

# isort: split
import mlflow
import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

from sweep.base.addresses import usable_address

_BEST = "best"  # alias of the newest version of a registered model


def save_model(
    network: torch.nn.Module, example: NDArray[np.float32], about: dict[str, Any], path: Path
) -> None:
    """Write a model of MLflow, with the flavours pyfunc and pytorch, into an empty folder.

    Args:
        network: images (B, 3, S, S), float32 -> (B, C).
        example: of its input, at least two images.
        about: classes and preprocessing, the model's metadata.
    """
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.pytorch.save_model(path=path, **_arguments(network, example, about))


def log_model(
    uri: str,
    run_id: str,
    name: str,
    network: torch.nn.Module,
    example: NDArray[np.float32],
    about: dict[str, Any],
    registered: str | None = None,
) -> None:
    """Log a model with a run, as `save_model` writes it; register it if it gets a name for that.

    Raises:
        MlflowException: the store does not take it, or has no registry.
    """
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(usable_address(uri))
    client = client_of(uri)
    mlflow.set_experiment(experiment_id=client.get_run(run_id).info.experiment_id)
    with redirect_stderr(io.StringIO()):  # MLflow prints what it has registered
        found = Model.log(
            None,
            mlflow.pytorch,
            run_id=run_id,
            name=name,
            registered_model_name=registered,
            await_registration_for=None,
            validate_serving_input=False,  # it would load the model and tell nobody what it found
            **_arguments(network, example, about),
        )
    if registered:
        client.set_registered_model_alias(registered, _BEST, found.registered_model_version)


def _arguments(
    network: torch.nn.Module, example: NDArray[np.float32], about: dict[str, Any]
) -> dict[str, Any]:
    shape = tuple(example.shape[1:])
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, *shape))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, len(about["classes"])))]),
    )
    return {
        "pytorch_model": network,
        "signature": signature,
        "input_example": example,
        "serialization_format": "pt2",
        "metadata": about,
        "pip_requirements": [
            "mlflow", "numpy", f"torch=={torch.__version__.partition('+')[0]}",
        ],
    }  # fmt: skip


def predict(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a model of MLflow says of images (B, 3, S, S)."""
    return np.asarray(mlflow.pyfunc.load_model(str(path)).predict(images))
