"""What a family of backbones is: networks that are made, and find their weights, in one way."""

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sweep.backbones import hub
from sweep.backbones.checkpoint import read_checkpoint
from sweep.backbones.formats.base import StateDict
from sweep.backbones.weights import fit_weights
from sweep.errors import BackboneError, first_line, nearest, shorten
from sweep.space.aliases import ALIASES
from sweep.space.backbone import SUFFIXES, BackboneSpec
from sweep.space.catalog import family_name, model_source
from sweep.space.registries import BACKBONES

log = logging.getLogger("sweep.backbones")


@dataclass(frozen=True)
class Preprocessing:
    """How a backbone wants its pixels.

    Attributes:
        mean, std: of each channel of RGB, of values from 0 to 1.
        interpolation: with which images are resized: nearest, bilinear, bicubic or lanczos.
        crop: timm's ``crop_pct``; None resizes the whole picture to a square.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop: float | None = None

    def __str__(self) -> str:
        mean, std = (" ".join(f"{value:g}" for value in item) for item in (self.mean, self.std))
        part = "the whole picture" if self.crop is None else f"the centre, crop {self.crop:g}"
        return f"mean {mean}, std {std}, {self.interpolation}, {part}"

    @property
    def resizing(self) -> str:
        """What is done with a picture before its mean is taken away, by the keys of model.json."""
        part = (
            "the whole picture to image_size x image_size"
            if self.crop is None
            else "the shorter side to round(image_size / crop), then the centre of image_size x "
            "image_size"
        )
        return (
            "PIL: image.draft(None, jpeg_draft), which only JPEGs heed; ImageOps.exif_transpose; "
            f"convert('RGB'); {part} by interpolation; scaled to [0, 1]"
        )


class LoadedTrunk(NamedTuple):
    """A trunk with its weights, and what is to be said of how they were read."""

    trunk: nn.Module
    notes: list[str]


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

    def configuration(self, spec: BackboneSpec) -> str:
        """Return what a model's own configuration says, where it lies beside its weights."""
        return ""

    def with_drop_path(
        self, spec: BackboneSpec, rate: float, image_size: int
    ) -> BackboneSpec | None:
        """Return a model's entry with stochastic depth; None if the model has none."""
        return None

    def code_version(self, spec: BackboneSpec) -> str:
        """Return what changes when the code that makes a model changes; empty for our own.

        Caches of what the model gives are named by it, too.
        """
        return BACKBONES.version(family_name(spec.model) or "timm")

    def full_name(self, spec: BackboneSpec) -> str:
        """Return the model's name, with that of its weights where they have one."""
        return spec.model

    def heads(self, spec: BackboneSpec) -> tuple[str, ...]:
        """Return the names of layers that published weights have above the trunk."""
        return ()

    def missing_own_weights(self, spec: BackboneSpec) -> str | None:
        """Return what is missing of the weights that the family brings, and how to get it."""
        return f"{spec.model} brings no weights: name a safetensors file, or write 'weights: none'"

    def own_file(self, spec: BackboneSpec) -> Path | None:
        """Return the file with the weights that the family brings, where it is one to be read."""
        return None

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

    def load(self, spec: BackboneSpec, image_size: int, weights_dir: Path | None) -> LoadedTrunk:
        """Make a trunk and load its weights.

        Raises BackboneError if they are not there or do not fit.
        """
        if spec.weights == "none":
            return LoadedTrunk(self.build(spec, image_size), [])
        if missing := fetch_weights(spec, weights_dir):
            raise BackboneError(f"backbone {spec.name}: {missing}")
        if file := weights_file(spec, weights_dir):
            trunk = self.build(spec, image_size)
            checkpoint = read_checkpoint(file, spec.name)
            notes = fit_weights(trunk, checkpoint, spec, file.name, self.heads(spec))
            return LoadedTrunk(trunk, notes)
        return LoadedTrunk(self.load_own_weights(spec, image_size), [])

    def export(
        self, trunk: nn.Module, head: nn.Linear | None, spec: BackboneSpec, image_size: int
    ) -> tuple[StateDict, dict[str, Any]]:
        """Return the weights of a network under the family's names, and how to load them.

        Args:
            head: the linear one; None for another, which is not the family's business.
        """
        make = "trunk = family_of(spec).build(spec, image_size) of sweep.backbones.families.base"
        return export_apart(trunk, head, make, "trunk(images)")


def family_of(spec: BackboneSpec) -> BackboneFamily:
    """Return the family of a backbone's model."""
    found: BackboneFamily = BACKBONES.get(family_name(spec.model) or "timm")
    return found


def weights_file(spec: BackboneSpec, weights_dir: Path | None) -> Path | None:
    """Return the file that holds a backbone's weights, if any is here.

    It is under the weights folder, or in what is here of a repository of the hub.
    """
    hub.search_folder(weights_dir)
    if spec.weights == "none" or spec.weights.startswith("package:"):
        return None
    if spec.weights.startswith("hf-hub:"):
        repository, file = repository_of(spec.weights)
        return hub.weights_in(hub.repository_folders(repository), file)
    names = [spec.weights]
    if spec.weights == "hub":
        if model_source(spec.model):
            return family_of(spec).own_file(spec)
        full_name = family_of(spec).full_name(spec)
        names = [f"{name.replace(':', '_')}.safetensors" for name in (spec.model, full_name)]
    found = (weights_dir / name for name in names) if weights_dir else ()
    return next((path for path in found if path.is_file()), None)


def repository_of(weights: str) -> tuple[str, str]:
    """Return the repository and the file, if one is named, of ``hf-hub:ORG/NAME[/FILE]``."""
    organisation, name, *file = weights.removeprefix("hf-hub:").split("/", 2)
    return f"{organisation}/{name}", "".join(file)


def missing_weights(spec: BackboneSpec, weights_dir: Path | None) -> str | None:
    """Return what is missing of a backbone's weights and how to get it, or None."""
    if spec.weights == "none" or weights_file(spec, weights_dir):
        return None
    if spec.weights == "hub" or spec.weights.startswith("package:"):
        return family_of(spec).missing_own_weights(spec)
    if spec.weights.startswith("hf-hub:"):
        return missing_of_repository(*repository_of(spec.weights), describe_terms(spec))
    place = f"under {weights_dir}" if weights_dir else "as no --weights-dir is given"
    near = ""
    if weights_dir and weights_dir.is_dir():
        there = [path.name for path in weights_dir.iterdir() if path.suffix in SUFFIXES]
        near = nearest(spec.weights, there)
    return f"{spec.weights} is not there {place}{near}"


def missing_of_repository(repository: str, file: str, terms: str) -> str:
    """Say that a repository of the hub is not here with its weights, and how to get it."""
    what = f"{repository}/{file}" if file else repository
    folders = hub.repository_folders(repository)
    there = sorted({p.name for folder in folders for p in folder.iterdir() if p.suffix in SUFFIXES})
    if there and not file:
        return f"{repository} has several weights ({shorten(there)}): write {what}/FILE"
    return (
        f"{what}{terms} is not in the hub's cache: connect to the network once, or put the "
        f"repository as {hub.folder_name(repository)} into the --weights-dir"
    )


def describe_terms(spec: BackboneSpec) -> str:
    """Return the licence of a known backbone's weights, and how to pass its gate."""
    own = (spec.model, spec.weights)
    known = next((a for a in ALIASES.values() if (a.model, a.weights) == own), None)
    if known is None:
        return ""
    gate = ", gated: accept its terms on its page, and log in with: hf auth login"
    return f" (licence: {known.licence}{gate if known.gated else ''})"


def fetch_weights(spec: BackboneSpec, weights_dir: Path | None) -> str | None:
    """Download weights that are not here yet; return what is still missing, or None."""
    missing = missing_weights(spec, weights_dir)
    from_hub = spec.weights == "hub" or spec.weights.startswith("hf-hub:")
    if missing is None or not from_hub:
        return missing
    log.info("backbone %s: downloading%s", spec.name, describe_terms(spec))
    try:
        if spec.weights == "hub":
            family_of(spec).fetch_own_weights(spec)
        else:
            hub.download(*repository_of(spec.weights))
    except Exception:
        # A hub's client raises many kinds of errors, and the advice is the same for all.
        return missing
    return missing_weights(spec, weights_dir)


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


def export_apart(
    trunk: nn.Module, head: nn.Linear | None, make: str, features: str
) -> tuple[StateDict, dict[str, Any]]:
    """Return the weights of a trunk beside those of its head, and how to load them.

    Args:
        make, features: how to make the trunk, and features of images, in Python.
    """
    state = {name: tensor.detach().cpu() for name, tensor in trunk.state_dict().items()}
    how = f"{make}; load the state dict without the entries of the head; features = {features}"
    if head is not None:
        state["linear_head.weight"] = head.weight.detach().cpu()
        state["linear_head.bias"] = head.bias.detach().cpu()
        how += "; logits = features @ linear_head.weight.T + linear_head.bias"
    return state, {"load": how}
