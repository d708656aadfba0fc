"""The confirmed model of a cell, written to be used elsewhere, with its model card."""

import importlib.util
import json
import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sweep.base.atomic import write_text
from sweep.errors import SweepError, nearest
from sweep.records.folder import SweepFolder
from sweep.run.card import model_card
from sweep.run.winner import Winner, load_winner
from sweep.train.kept import Classifier

_EXAMPLES = 2
_TOLERANCE = 1e-4  # of a probability


def export(folder: SweepFolder, cell: str, style: str, output: Path) -> None:
    """Write the model of a cell into a new folder.

    Args:
        style: timm, onnx or mlflow.

    Raises:
        SweepError: no such cell or format, a folder that is there, a head that the format cannot
            hold, a package that is missing.
    """
    if style not in FORMATS:
        allowed = ", ".join(FORMATS)
        raise SweepError(f"unknown format {style!r}; allowed: {allowed}{nearest(style, FORMATS)}")
    if output.exists():
        raise SweepError(f"--output {output} is there already: name a folder that is not")
    winner = load_winner(folder, cell)
    output.mkdir(parents=True)
    try:
        FORMATS[style](winner, output)
        write_text(output / "README.md", model_card(folder, winner, style))
    except BaseException:
        shutil.rmtree(output)  # it was made above
        raise


def _to_timm(winner: Winner, output: Path) -> None:
    """Write what `timm.create_model("local-dir:FOLDER", pretrained=True)` loads."""
    about, chosen = winner.model.about, winner.model.preprocessing
    arguments = dict(about.get("kwargs", {}))
    classes = arguments.pop("num_classes", 0)
    if not classes or ":" in about["model"]:
        raise SweepError(
            f"{winner.cell.name} is no model of timm as it is, but {about['model']} below a head "
            "of its own: export it with --format onnx or mlflow"
        )
    shutil.copyfile(winner.model.folder / "model.safetensors", output / "model.safetensors")
    side = winner.model.image_size
    config = {
        "architecture": about["model"].partition(".")[0],
        "num_classes": classes,
        "num_features": winner.model.network.head.in_features,
        "label_names": winner.model.classes,
        "model_args": arguments,
        "pretrained_cfg": {
            "num_classes": classes,
            "input_size": [3, side, side],
            "mean": chosen.mean,
            "std": chosen.std,
            "interpolation": chosen.interpolation,
            "crop_pct": chosen.crop or 1.0,
            "crop_mode": "center" if chosen.crop else "squash",
        },
    }
    write_text(output / "config.json", json.dumps(config, indent=1))


def _to_onnx(winner: Winner, output: Path) -> None:
    """Write model.onnx: RGB images (B, 3, S, S) from 0 to 1 -> class probabilities (B, C)."""
    if missing := [name for name in ("onnx", "onnxscript") if not importlib.util.find_spec(name)]:
        raise SweepError(f"{', '.join(missing)} not installed: pip install 'sweep-backbones[onnx]'")
    network, batch = Classifier(winner.model).eval(), {0: torch.export.Dim("batch")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            network,
            (torch.from_numpy(example_images(winner)),),
            output / "model.onnx",
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes={"images": batch},
            external_data=False,
            verbose=False,
        )
    _refuse_fixed_batch(winner, output / "model.onnx")
    write_text(output / "preprocessing.json", json.dumps(network.description, indent=1))


def _refuse_fixed_batch(winner: Winner, path: Path) -> None:
    """Raise SweepError if a network can be traced for one number of images alone."""
    import onnx

    (images,) = onnx.load(path).graph.input
    if not images.type.tensor_type.shape.dim[0].dim_param:
        raise _for_fixed_batch(winner)


def _for_fixed_batch(winner: Winner) -> SweepError:
    return SweepError(
        f"{winner.model.about['model']} cannot be written for any number of images at once, as its "
        "code depends on how many there are: export it with --format timm"
    )


def _to_mlflow(winner: Winner, output: Path) -> None:
    """Write a model of MLflow, pyfunc and pytorch flavour; its example is noise."""
    from sweep.tracking.model import predict, save_model

    network, images = Classifier(winner.model).eval(), example_images(winner)
    save_model(network, images, network.description, output)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(images[:1])).numpy()
    try:
        same = np.allclose(predict(output, images[:1]), wanted, atol=_TOLERANCE)
    except Exception:  # a program that was traced for two images raises what it likes for one
        same = False
    if not same:
        raise _for_fixed_batch(winner)


def example_images(winner: Winner) -> np.ndarray:
    """Return noise in place of images (2, 3, S, S): no patient's picture goes along."""
    side = winner.model.image_size
    rng = np.random.default_rng(0)
    return rng.random((_EXAMPLES, 3, side, side), dtype=np.float32)


FORMATS: dict[str, Callable[[Winner, Path], None]] = {
    "timm": _to_timm,
    "onnx": _to_onnx,
    "mlflow": _to_mlflow,
}
