"""A network as a model of MLflow, which loads without this package."""

import logging
from pathlib import Path
from typing import Any

# It must precede mlflow, as it limits how long MLflow waits.
import sweep.tracking.store  # noqa: F401

# isort: split
import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray


def save_model(
    network: torch.nn.Module, example: NDArray[np.float32], about: dict[str, Any], path: Path
) -> None:
    """Write a model of MLflow, with the flavours pyfunc and pytorch, into an empty folder.

    Args:
        network: images (B, 3, S, S), float32 -> (B, C).
        example: of its input, at least two images.
        about: kept as the model's metadata: classes and preprocessing.
    """
    shape = tuple(example.shape[1:])
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, *shape))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, len(about["classes"])))]),
    )
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.pytorch.save_model(
        network,
        path,
        signature=signature,
        input_example=example,
        serialization_format="pt2",
        metadata={key: about[key] for key in ("classes", "image_size", "resize")},
        pip_requirements=["mlflow", "numpy", f"torch=={torch.__version__.partition('+')[0]}"],
    )


def predict(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a model of MLflow says of images (B, 3, S, S)."""
    return np.asarray(mlflow.pyfunc.load_model(str(path)).predict(images))
