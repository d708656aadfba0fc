"""Backbones: a timm model without its head, its weights and its preprocessing.

Every backbone is used the same way: timm's model with no classifier, which gives one feature
vector an image, below one new linear head.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from sweep.backbones.weights import (
    StateDict,
    fetch_weights,
    fit_weights,
    hub_model,
    missing_weights,
    package_state,
    pretrained_config,
    read_weights,
    refuse_bad_numbers,
    weights_file,
    weights_hash,
)
from sweep.errors import BackboneError, nearest, shorten
from sweep.space.catalog import timm_tags
from sweep.space.model import BackboneSpec

_RANDOM_WEIGHTS_SEED = 0
_KNOWN_INTERPOLATIONS = {"nearest", "bilinear", "bicubic", "lanczos"}


class Network(nn.Module):
    """A backbone below one linear layer.

    Attributes:
        trunk: timm model, (B, 3, S, S) normalised images -> (B, D) features.
        head: (B, D) features -> (B, C) logits.
    """

    def __init__(self, trunk: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C)."""
        logits: Tensor = self.head(self.trunk(images))
        return logits


@dataclass(frozen=True)
class Preprocessing:
    """How a backbone wants its pixels: per-channel mean and std of [0, 1] values, resizing."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


@dataclass(frozen=True, eq=False)
class Backbone:
    """A loaded backbone.

    Attributes:
        trunk: timm model without classifier, in eval mode.
        features: D, length of its output.
        weights_hash: hash of its weights, whatever they were loaded from.
    """

    spec: BackboneSpec
    trunk: nn.Module
    features: int
    weights_hash: str
    preprocessing: Preprocessing

    def network(self, classes: int, seed: int) -> Network:
        """Return a fresh copy below a new head, whose weights depend on `seed` alone."""
        network = Network(copy.deepcopy(self.trunk), self.features, classes)
        with torch.no_grad():
            weight_CD = initial_head(classes, self.features, seed)
            network.head.weight.copy_(weight_CD)
            network.head.bias.zero_()
        return network


def initial_head(classes: int, features: int, seed: int) -> Tensor:
    """Return the initial weights (C, D) of a head: normal with standard deviation 0.01."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(classes, features, generator=generator) * 0.01


def preprocessing(spec: BackboneSpec) -> Preprocessing:
    """Return a backbone's own preprocessing, without building it."""
    config = pretrained_config(spec)
    interpolation = config.interpolation
    if interpolation not in _KNOWN_INTERPOLATIONS:
        interpolation = "bicubic"
    return Preprocessing(tuple(config.mean), tuple(config.std), interpolation)


@lru_cache
def input_size(spec: BackboneSpec, image_size: int) -> int:
    """Return the size in pixels at which a backbone sees images in a space of `image_size`.

    That is `image_size`, or the next smaller multiple of the patch of a vision transformer:
    timm would cut the border that fills no patch, and with it a part of the picture.

    Raises:
        BackboneError: the model cannot take images that small.
    """
    with torch.device("meta"):
        trunk = _build(spec, image_size)
    patch = getattr(getattr(trunk, "patch_embed", None), "patch_size", None)
    side = int(patch[0]) if isinstance(patch, tuple | list) else 1
    if image_size < side:
        raise BackboneError(
            f"backbone {spec.name}: image_size {image_size} is smaller than one patch of "
            f"{spec.model}; use a multiple of {side}"
        )
    return image_size // side * side


@lru_cache(maxsize=2)
def load_backbone(spec: BackboneSpec, image_size: int, weights_dir: Path | None) -> Backbone:
    """Build a backbone for images of `image_size` pixels and load its weights.

    The result is shared: take a copy with `Backbone.network` before changing it.

    Raises:
        BackboneError: no such weights, weights that do not fit, or an impossible image size.
    """
    with seeded(_RANDOM_WEIGHTS_SEED):
        trunk = _load(spec, image_size, weights_dir)
    refuse_bad_numbers(trunk, spec)
    _channels_last(trunk, spec).eval()
    features = _feature_count(trunk, spec, image_size)
    return Backbone(spec, trunk, features, weights_hash(trunk), preprocessing(spec))


def bare_network(spec: BackboneSpec, image_size: int, classes: int) -> Network:
    """Return the network without memory for its weights: enough to count parameters."""
    with torch.device("meta"):
        trunk = _channels_last(_build(spec, image_size), spec)
        return Network(trunk, _head_size(trunk, spec), classes)


def _head_size(trunk: Any, spec: BackboneSpec) -> int:
    try:
        return int(trunk.head_hidden_size)
    except (AttributeError, TypeError, ValueError):
        raise BackboneError(
            f"backbone {spec.name}: timm does not say how many features {spec.model} gives; it "
            "cannot be used here"
        ) from None


def _channels_last(trunk: nn.Module, spec: BackboneSpec) -> nn.Module:
    try:
        return trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
    except RuntimeError as error:
        raise BackboneError(
            f"backbone {spec.name}: {spec.model} has weights that cannot be laid out channels-last "
            f"({error}), as everything here is; it cannot be used"
        ) from None


def export_state(
    network: Network, spec: BackboneSpec, image_size: int, classes: list[str]
) -> tuple[StateDict, dict[str, Any]]:
    """Return a network's weights under timm's own names, and how to load them with timm."""
    model = _build(spec, image_size, num_classes=len(classes), device="meta")
    own = model.state_dict()
    state = {name: tensor.detach().cpu() for name, tensor in network.trunk.state_dict().items()}
    extra = sorted(set(own) - set(state))
    head = {"weight": network.head.weight.detach().cpu(), "bias": network.head.bias.detach().cpu()}
    prefix = extra[0].rpartition(".")[0] if extra else ""
    fits = extra == [f"{prefix}.bias", f"{prefix}.weight"] and all(
        own[f"{prefix}.{part}"].shape == tensor.shape for part, tensor in head.items()
    )
    kwargs: dict[str, Any] = {"num_classes": len(classes) if fits else 0}
    if _takes_image_size(spec.model):
        kwargs["img_size"] = image_size
    state |= {f"{prefix if fits else 'linear_head'}.{part}": head[part] for part in head}
    chosen = preprocessing(spec)
    how = (
        "model = timm.create_model(model, pretrained=False, **kwargs); "
        "model.load_state_dict(safetensors.torch.load_file('model.safetensors'))"
        if fits
        else "trunk = timm.create_model(model, pretrained=False, **kwargs); load the state dict "
        "without the linear_head.* entries; logits = linear_head(trunk(images))"
    )
    about = {
        "model": spec.model,
        "kwargs": kwargs,
        "classes": classes,
        "image_size": image_size,
        "mean": chosen.mean,
        "std": chosen.std,
        "interpolation": chosen.interpolation,
        # What decoding a JPEG at a fraction of its size needs: Pillow's Image.draft.
        "jpeg_draft": [2 * image_size, 2 * image_size],
        "resize": "PIL: image.draft(None, jpeg_draft), which only JPEGs heed; "
        "ImageOps.exif_transpose; convert('RGB'); the whole picture to image_size x image_size by "
        "interpolation; scaled to [0, 1], less mean, divided by std",
        "load": how,
    }
    if len(classes) == 2:
        about["positive"] = classes[1]
    return {name: tensor.contiguous() for name, tensor in state.items()}, about


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with torch's generators seeded, and put them back afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@lru_cache
def _takes_image_size(model: str) -> bool:
    try:
        with torch.device("meta"):
            timm.create_model(model, num_classes=0, img_size=224)
    except TypeError as error:
        return "img_size" not in str(error)
    except Exception:  # it knows the argument and dislikes the value
        return True
    return True


def _build(
    spec: BackboneSpec, image_size: int, num_classes: int = 0, device: str | None = None
) -> Any:
    kwargs = {"img_size": image_size} if _takes_image_size(spec.model) else {}
    try:
        with torch.device(device or torch.get_default_device()):
            return timm.create_model(spec.model, num_classes=num_classes, **kwargs)
    except Exception as error:  # timm's families raise nearly anything
        if "pretrained tag" in str(error):
            raise _unknown_tag(spec) from None
        raise _bad_size(spec, image_size, error) from None


def _unknown_tag(spec: BackboneSpec) -> BackboneError:
    architecture, _, tag = spec.model.partition(".")
    known = timm_tags(architecture)
    there = f"there are {shorten(known)}" if known else "it has none"
    near = nearest(spec.model, known)
    return BackboneError(
        f"backbone {spec.name}: timm knows no weights {tag!r} of {architecture}; {there}{near}"
    )


def _load(spec: BackboneSpec, image_size: int, weights_dir: Path | None) -> nn.Module:
    trunk: nn.Module = _build(spec, image_size)
    if spec.weights == "none":
        return trunk
    if file := weights_file(spec, weights_dir):
        return fit_weights(trunk, read_weights(file, spec), spec, file.name)
    if spec.weights.startswith("package:"):
        return fit_weights(trunk, package_state(spec, trunk), spec, spec.weights)
    if missing := missing_weights(spec, weights_dir):
        missing = fetch_weights(spec, weights_dir)
        if missing:
            raise BackboneError(f"backbone {spec.name}: {missing}")
    kwargs = {"img_size": image_size} if _takes_image_size(spec.model) else {}
    try:
        return hub_model(spec, num_classes=0, **kwargs)
    except Exception as error:  # of timm, of the hub's client
        raise _bad_size(spec, image_size, error) from None


def _feature_count(trunk: nn.Module, spec: BackboneSpec, image_size: int) -> int:
    try:
        with torch.inference_mode():
            output: Tensor = trunk(torch.zeros(1, 3, image_size, image_size))
    except Exception as error:  # timm's families raise nearly anything
        raise _bad_size(spec, image_size, error) from None
    if output.ndim != 2:
        raise BackboneError(
            f"backbone {spec.name}: {spec.model} gives {output.ndim}-dimensional features, "
            "not one vector an image; it cannot be used here"
        )
    return int(output.shape[1])


def _bad_size(spec: BackboneSpec, image_size: int, error: Exception) -> BackboneError:
    first_line = next(iter(str(error).splitlines()), "")
    reason = f"{type(error).__name__}: {first_line}"
    return BackboneError(
        f"backbone {spec.name}: {spec.model} cannot take image_size {image_size} ({reason}); "
        "try 224, or the size the model was trained at"
    )
