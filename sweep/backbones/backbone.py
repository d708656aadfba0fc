"""Backbones: a timm model without its head, its weights and its preprocessing.

Every backbone is used the same way: timm's model with no classifier, which gives one feature
vector an image, below one new linear head.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sweep.backbones.families.base import Preprocessing, family_of, output_size
from sweep.backbones.formats.base import StateDict
from sweep.backbones.tokens import features_had, use_features
from sweep.backbones.weights import refuse_bad_numbers, weights_hash
from sweep.errors import BackboneError
from sweep.space.backbone import BackboneSpec, resized_side
from sweep.space.catalog import family_name, model_source

_RANDOM_WEIGHTS_SEED = 0
_KEPT_BYTES = 1 << 30


class Network(nn.Module):
    """A backbone below one linear layer.

    Attributes:
        trunk: timm model, (B, 3, S, S) normalised images -> (B, D) features.
        head: (B, D) features -> (B, C) logits; linear unless the freeze mode has another.
    """

    def __init__(self, trunk: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head: nn.Module = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C)."""
        logits: Tensor = self.head(self.trunk(images))
        return logits


@dataclass(frozen=True, eq=False)
class Backbone:
    """A loaded backbone.

    Attributes:
        trunk: timm model without classifier, in eval mode.
        image_size: side of the images that it was built for.
        features: D, length of its output.
        weights_hash: hash of its weights, whatever they were loaded from.
        notes: on how its weights were read.
    """

    spec: BackboneSpec
    trunk: nn.Module
    image_size: int
    features: int
    weights_hash: str
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()

    def network(self, classes: int, seed: int, drop_path_rate: float = 0.0) -> Network:
        """Return a fresh copy below a new head, whose weights depend on `seed` alone.

        Args:
            drop_path_rate: of stochastic depth, where the model has it.
        """
        network = Network(self._copy(drop_path_rate), self.features, classes)
        head = network.head
        assert isinstance(head, nn.Linear)
        with torch.no_grad():
            head.weight.copy_(initial_head(classes, self.features, seed))
            head.bias.zero_()
        return network

    def giving(self, name: str, features: int) -> "Backbone":
        """Return the backbone with other features, which are so many."""
        spec = self.spec.model_copy(update={"features": name})
        return replace(self, spec=spec, features=features)

    def _copy(self, drop_path_rate: float) -> nn.Module:
        family = family_of(self.spec)
        spec = None
        if drop_path_rate:
            spec = family.with_drop_path(self.spec, drop_path_rate, self.image_size)
        if spec is None:
            trunk = copy.deepcopy(self.trunk)
            use_features(trunk, self.spec)
            return trunk
        trunk = family.build(spec, self.image_size)
        use_features(trunk, spec)
        trunk.load_state_dict(self.trunk.state_dict())
        return _channels_last(trunk, spec)


_loaded: dict[tuple[BackboneSpec, int, Path | None], Backbone] = {}  # the last one is the latest


def initial_head(classes: int, features: int, seed: int) -> Tensor:
    """Return the initial weights (C, D) of a head: normal with standard deviation 0.01."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(classes, features, generator=generator) * 0.01


def preprocessing(spec: BackboneSpec) -> Preprocessing:
    """Return a backbone's own preprocessing, with what its entry replaces of it."""
    own = family_of(spec).preprocessing(spec)
    given = {key: getattr(spec, key) for key in ("mean", "std", "interpolation", "crop")}
    return replace(own, **{key: value for key, value in given.items() if value is not None})


def note_on_preprocessing(spec: BackboneSpec) -> str | None:
    """Say so where weights of the user's are normalised as timm's default ones of the model."""
    elsewhere = spec.has_file or spec.weights.startswith("hf-hub:")
    if not elsewhere or (spec.mean and spec.std) or family_name(spec.model):
        return None
    if model_source(spec.model) or "." in spec.model:
        return None
    default = family_of(spec).full_name(spec.model_copy(update={"weights": "hub"}))
    return (
        f"backbone {spec.name}: images are normalised as those of {default}, timm's default "
        "weights of the model; write mean and std if these weights were trained otherwise"
    )


@lru_cache
def input_size(spec: BackboneSpec, image_size: int) -> int:
    """Return the size in pixels at which a backbone sees images in a space of `image_size`.

    Raises BackboneError if the model cannot take images that small.
    """
    return family_of(spec).input_size(spec, image_size)


def load_backbone(spec: BackboneSpec, image_size: int, weights_dir: Path | None) -> Backbone:
    """Build a backbone for images of `image_size` pixels and load its weights.

    The last ones are kept, as many as have 1 GiB together. The result is shared: take a copy with
    `Backbone.network` before changing it.

    Raises:
        BackboneError: no such weights, weights that do not fit, or an impossible image size.
    """
    key = spec, image_size, weights_dir
    backbone = _loaded.pop(key, None) or _load(*key)
    _loaded[key] = backbone  # as the last
    while len(_loaded) > 1 and sum(map(_bytes, _loaded.values())) > _KEPT_BYTES:
        del _loaded[next(iter(_loaded))]
    return backbone


def forget_backbones() -> None:
    """Free the backbones that were loaded."""
    _loaded.clear()


def _bytes(backbone: Backbone) -> int:
    return sum(item.nbytes for item in backbone.trunk.state_dict().values())


def _load(spec: BackboneSpec, image_size: int, weights_dir: Path | None) -> Backbone:
    family = family_of(spec)
    with seeded(_RANDOM_WEIGHTS_SEED):
        trunk, notes = family.load(spec, image_size, weights_dir)
    refuse_bad_numbers(trunk, spec)
    _channels_last(trunk, spec).eval()
    use_features(trunk, spec)
    features = output_size(trunk, spec, image_size)
    digest, chosen = weights_hash(trunk, family.configuration(spec)), preprocessing(spec)
    return Backbone(spec, trunk, image_size, features, digest, chosen, tuple(notes))


def bare_network(spec: BackboneSpec, image_size: int, classes: int) -> Network:
    """Return the network without memory for its weights: enough to count parameters."""
    family = family_of(spec)
    with torch.device("meta"):
        trunk = _channels_last(family.build(spec, image_size), spec)
        features = use_features(trunk, spec) or family.head_size(trunk, spec, image_size)
        return Network(trunk, features, classes)


@lru_cache
def features_of(spec: BackboneSpec, image_size: int) -> tuple[str, ...]:
    """Return the names of the features that a backbone can give."""
    with torch.device("meta"):
        return features_had(family_of(spec).build(spec, input_size(spec, image_size)))


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
    """Return a network's weights under its family's own names, and how to load them."""
    head, family = network.head, family_of(spec)
    linear = head if isinstance(head, nn.Linear) else None
    state, own = family.export(network.trunk, linear, spec, image_size)
    if linear is None:
        state |= {f"head.{name}": item.cpu() for name, item in head.state_dict().items()}
        own["head"] = head.description()  # type: ignore[operator]
    chosen = preprocessing(spec)
    about = {
        "model": spec.model,
        "classes": classes,
        "image_size": image_size,
        "mean": chosen.mean,
        "std": chosen.std,
        "interpolation": chosen.interpolation,
        # Decoding a JPEG at a reduced scale needs this size: see Pillow's Image.draft.
        "jpeg_draft": [2 * resized_side(image_size, chosen.crop)] * 2,
        **({"crop": chosen.crop} if chosen.crop else {}),
        "resize": f"{chosen.resizing}, less mean, divided by std",
        **own,
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
