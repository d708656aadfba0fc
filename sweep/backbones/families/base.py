"""What a family of backbones is: networks that are made, and find their weights, in one way."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sweep.backbones.weights import StateDict, fit_weights, read_weights
from sweep.errors import BackboneError, first_line, nearest
from sweep.space.catalog import family_name
from sweep.space.registries import BACKBONES
from sweep.space.specs import BackboneSpec


@dataclass(frozen=True)
class Preprocessing:
    """How a backbone wants its pixels.

    Attributes:
        mean, std: of each channel of RGB, of values from 0 to 1.
        interpolation: with which images are resized: nearest, bilinear, bicubic or lanczos.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


class BackboneFamily(ABC):
    """Makes trunks: networks without a head, of which each is named in a space file.

    ``model: NAME`` or ``model: NAME:VARIANT`` is a model of the family that is registered as NAME.
    Its weights are ``none`` (random), a safetensors file under the weights folder, or what the
    family itself brings (``hub``, the default).
    """

    def check(self, model: str) -> str | None:
        """Say what is wrong with the name of a model, or return None."""
        return None

    @abstractmethod
    def build(self, spec: BackboneSpec, image_size: int) -> nn.Module:
        """Make a trunk with random weights, on torch's default device, which may be ``meta``.

        It takes normalised images (B, 3, S, S) and gives features (B, D), both float32.

        Raises BackboneError if the model cannot take images of that size.
        """

    @abstractmethod
    def preprocessing(self, spec: BackboneSpec) -> Preprocessing:
        """Return how a model wants its pixels, without building it."""

    def input_size(self, spec: BackboneSpec, image_size: int) -> int:
        """Return the size at which a model sees images in a space of `image_size` pixels."""
        return image_size

    def head_size(self, trunk: nn.Module, spec: BackboneSpec, image_size: int) -> int:
        """Return D, the length of a trunk's output, also of one on the device ``meta``."""
        return output_size(trunk, spec, image_size)

    def full_name(self, spec: BackboneSpec) -> str:
        """Return the model's name, with that of its weights where they have one."""
        return spec.model

    def heads(self, spec: BackboneSpec) -> tuple[str, ...]:
        """Return the names of layers that published weights have above the trunk."""
        return ()

    def missing_own_weights(self, spec: BackboneSpec) -> str | None:
        """Return what is missing of the weights that the family brings, and how to get it."""
        return f"{spec.model} brings no weights: name a safetensors file, or write 'weights: none'"

    def fetch_own_weights(self, spec: BackboneSpec) -> None:
        """Download the weights that the family brings; may raise anything."""
        raise BackboneError(f"backbone {spec.name}: {self.missing_own_weights(spec)}")

    def own_state(self, spec: BackboneSpec) -> StateDict:
        """Return the weights that the family brings, to be written into a file.

        Raises BackboneError if they are not there.
        """
        raise BackboneError(f"backbone {spec.name}: {self.missing_own_weights(spec)}")

    def load_own_weights(self, spec: BackboneSpec, image_size: int) -> nn.Module:
        """Make a trunk with the weights that the family brings, without asking the network.

        Raises BackboneError if they are not there.
        """
        raise BackboneError(f"backbone {spec.name}: {self.missing_own_weights(spec)}")

    def load(self, spec: BackboneSpec, image_size: int, weights_dir: Path | None) -> nn.Module:
        """Make a trunk and load its weights.

        Raises BackboneError if they are not there or do not fit.
        """
        trunk = self.build(spec, image_size)
        if spec.weights == "none":
            return trunk
        if file := weights_file(spec, weights_dir):
            state = read_weights(file, spec)
            return fit_weights(trunk, state, spec, file.name, self.heads(spec))
        if missing := fetch_weights(spec, weights_dir):
            raise BackboneError(f"backbone {spec.name}: {missing}")
        return self.load_own_weights(spec, image_size)

    def export(
        self, trunk: nn.Module, head: nn.Linear, spec: BackboneSpec, image_size: int
    ) -> tuple[StateDict, dict[str, Any]]:
        """Return the weights of a network under the family's names, and how to load them."""
        state = {name: tensor.detach().cpu() for name, tensor in trunk.state_dict().items()}
        state |= {
            "linear_head.weight": head.weight.detach().cpu(),
            "linear_head.bias": head.bias.detach().cpu(),
        }
        how = (
            "trunk = family_of(spec).build(spec, image_size) of sweep.backbones.families.base; "
            "load the state dict without the linear_head.* entries; "
            "logits = linear_head(trunk(images))"
        )
        return state, {"load": how}


def family_of(spec: BackboneSpec) -> BackboneFamily:
    """Return the family of a backbone's model."""
    found: BackboneFamily = BACKBONES.get(family_name(spec.model) or "timm")
    return found


def weights_file(spec: BackboneSpec, weights_dir: Path | None) -> Path | None:
    """Return the file under the weights folder that holds a backbone's weights, if any."""
    if weights_dir is None or spec.weights == "none" or spec.weights.startswith("package:"):
        return None
    names = [spec.weights]
    if spec.weights == "hub":
        full_name = family_of(spec).full_name(spec)
        names = [f"{name.replace(':', '_')}.safetensors" for name in (spec.model, full_name)]
    found = (weights_dir / name for name in names)
    return next((path for path in found if path.is_file()), None)


def missing_weights(spec: BackboneSpec, weights_dir: Path | None) -> str | None:
    """Return what is missing of a backbone's weights and how to get it, or None."""
    if spec.weights == "none" or weights_file(spec, weights_dir):
        return None
    if spec.weights == "hub" or spec.weights.startswith("package:"):
        return family_of(spec).missing_own_weights(spec)
    place = f"under {weights_dir}" if weights_dir else "as no --weights-dir is given"
    near = ""
    if weights_dir and weights_dir.is_dir():
        near = nearest(spec.weights, [path.name for path in weights_dir.glob("*.safetensors")])
    return f"{spec.weights} is not there {place}{near}"


def fetch_weights(spec: BackboneSpec, weights_dir: Path | None) -> str | None:
    """Download weights that are not here yet; return what is still missing, or None."""
    missing = missing_weights(spec, weights_dir)
    if missing is None or spec.weights != "hub":
        return missing
    try:
        family_of(spec).fetch_own_weights(spec)
    except Exception:
        # A hub's client raises many kinds of errors, and the advice is the same for all.
        return missing
    return family_of(spec).missing_own_weights(spec)


def output_size(trunk: nn.Module, spec: BackboneSpec, image_size: int) -> int:
    """Run a trunk on one black image; return the length of its output.

    Raises BackboneError if it cannot take the image, or gives no vector.
    """
    device = next((item.device for item in trunk.parameters()), torch.device("cpu"))
    try:
        with torch.inference_mode():
            output: Tensor = trunk(torch.zeros(1, 3, image_size, image_size, device=device))
    except Exception as error:  # a network may raise any error for images of an unsuitable size
        raise bad_size(spec, image_size, error) from None
    if output.ndim != 2:
        raise BackboneError(
            f"backbone {spec.name}: {spec.model} gives {output.ndim}-dimensional features, "
            "not one vector an image; it cannot be used here"
        )
    return int(output.shape[1])


def bad_size(spec: BackboneSpec, image_size: int, error: Exception) -> BackboneError:
    """Return what is told of a model that cannot be made for, or take, images of a size."""
    reason = f"{type(error).__name__}: {first_line(error)}"
    return BackboneError(
        f"backbone {spec.name}: {spec.model} cannot take image_size {image_size} ({reason}); "
        "try 224, or the size the model was trained at"
    )
