"""The entry of a backbone in a space file: its model, its weights, how it sees an image."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from sweep.errors import nearest
from sweep.space.aliases import ALIASES
from sweep.space.catalog import (
    REPOSITORY,
    family_name,
    is_timm_model,
    model_source,
    pretraining,
    timm_models,
    timm_tags,
)
from sweep.space.domains import Part
from sweep.space.names import Fraction, Name
from sweep.space.registries import BACKBONES

# safetensors, and what torch writes; both are read without running code of theirs.
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")

_HUB_WEIGHTS = re.compile(rf"hf-hub:{REPOSITORY}(/(?!\.+(/|$))[\w.-]+)*")


def _check_channels(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(values) != 3:
        count = f"{len(values)} value{'s' if len(values) != 1 else ''}"
        raise ValueError(
            f"has {count}; write one for each channel: [red, green, blue], from 0 to 1"
        )
    return values


def _check_std(values: tuple[float, ...]) -> tuple[float, ...]:
    if min(values) <= 0:
        raise ValueError("must be above 0 for each channel")
    return values


def _freeze_value(value: Any) -> Any:
    return tuple(map(_freeze_value, value)) if isinstance(value, list | tuple) else value


def _as_pairs(value: Any) -> Any:
    """Return a mapping as sorted pairs, so that an entry can be hashed."""
    if not isinstance(value, dict):
        return value
    return tuple((str(key), _freeze_value(item)) for key, item in sorted(value.items()))


Channel = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Mean = Annotated[tuple[Channel, ...], AfterValidator(_check_channels)]
Std = Annotated[Mean, AfterValidator(_check_std)]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Features = Literal["cls", "mean", "cls+mean", "last4", "last4+mean", "pool"]


# What `sweep` itself gives to timm's create_model.
_RESERVED = {
    "img_size": "image_size of the space",
    "num_classes": "the dataset",
    "in_chans": "the images, which are RGB",
    "pretrained": "weights",
    "checkpoint_path": "weights",
    "features_only": "features",
}


def _check_kwargs(pairs: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
    for key, _ in pairs:
        if key in _RESERVED:
            raise ValueError(f"{key!r} is set by {_RESERVED[key]}; leave it out")
    return pairs


Kwargs = Annotated[
    tuple[tuple[str, Any], ...],
    BeforeValidator(_as_pairs),
    AfterValidator(_check_kwargs),
    PlainSerializer(dict),
]


def _is_unset(value: object) -> bool:
    return value is None or value == ()


class BackboneSpec(Part):
    """A model, where its weights come from, and how it sees an image.

    Attributes:
        model: an alias, a timm model, ``hf-hub:ORG/NAME``, ``local-dir:FOLDER``, or a model of
            another family.
        weights: ``hub`` (those that the model names), ``none`` (random), the name of a file,
            ``hf-hub:ORG/NAME[/FILE]``, or ``package:NAME`` (a Python package that ships them).
        pretraining: how the weights were learnt, where their name does not say it.
        kwargs: arguments of timm's ``create_model``.
        mean, std, interpolation: replace those of the model's own preprocessing.
        crop: timm's ``crop_pct``: the shorter side becomes the image size over `crop`, and the
            centre is cut out. By default the whole picture is resized to a square.
        features: which tokens of a vision transformer make an image's features: the class token,
            the mean of the patch tokens, the class tokens of the last four blocks; ``pool`` of a
            network of convolutions. By default timm's own.
    """

    name: Name
    model: str
    weights: str = "hub"
    pretraining: str | None = None
    kwargs: Kwargs = Field(default=(), exclude_if=_is_unset)
    mean: Mean | None = Field(default=None, exclude_if=_is_unset)
    std: Std | None = Field(default=None, exclude_if=_is_unset)
    interpolation: Interpolation | None = Field(default=None, exclude_if=_is_unset)
    crop: Fraction | None = Field(default=None, exclude_if=_is_unset)
    features: Features | None = Field(default=None, exclude_if=_is_unset)

    @model_validator(mode="before")
    @classmethod
    def _alias(cls, value: Any) -> Any:
        """Take what an entry does not say from the alias that its model, or its name, is."""
        if isinstance(value, str):
            alias = ALIASES.get(value)
            return {"name": value, **(alias.entry if alias else {"model": value})}
        if not isinstance(value, dict):
            return value
        given = {key: item for key, item in value.items() if item is not None}
        alias = ALIASES.get(str(given.get("model", given.get("name"))))
        if alias is None:
            return value
        own = {key: item for key, item in given.items() if key != "model"}
        return {**alias.entry, **own}

    @model_validator(mode="after")
    def _exists(self) -> Self:
        if (family := family_name(self.model)) is not None:
            if problem := BACKBONES.get(family).check(self.model):
                raise ValueError(f"model {self.model!r} of {self.name!r}: {problem}")
        elif model_source(self.model) is None and not is_timm_model(self.model):
            architecture = self.model.partition(".")[0]
            own = [*ALIASES, *(name for name in BACKBONES.names() if name != "timm")]
            near = nearest(self.model, [*own, *timm_models(), *timm_tags(architecture)])
            raise ValueError(
                f"unknown backbone {self.model!r}; allowed: {', '.join(own)}, any timm model, "
                f"hf-hub:ORG/NAME or local-dir:FOLDER{near}"
            )
        return self

    @model_validator(mode="after")
    def _has_weights(self) -> Self:
        weights = self.weights
        if weights in {"hub", "none"} or weights.startswith("package:"):
            return self
        if weights.startswith("hf-hub:"):
            if not _HUB_WEIGHTS.fullmatch(weights):
                raise ValueError(
                    f"weights {weights!r} of {self.name!r}: write hf-hub:ORG/NAME, or "
                    "hf-hub:ORG/NAME/FILE"
                )
        elif not weights.endswith(SUFFIXES):
            raise ValueError(
                f"weights {weights!r} of {self.name!r}: allowed are hub, none, hf-hub:ORG/NAME, "
                f"package:NAME and a file that ends in {', '.join(SUFFIXES)}"
                f"{nearest(weights, ['hub', 'none'])}"
            )
        return self

    @property
    def has_file(self) -> bool:
        """Whether the weights are a file of the user's."""
        return self.weights.endswith(SUFFIXES) and not self.weights.startswith("hf-hub:")

    def without_file(self) -> "BackboneSpec":
        """Return the backbone without the name of its weights' file, and of its folder."""
        changes: dict[str, Any] = {}
        if self.model.startswith("local-dir:"):
            changes = {"model": "local-dir:elsewhere"}
        if self.has_file:
            known = pretraining(self.model, self.weights)
            learnt = self.pretraining or (known if known != self.weights else "own weights")
            changes |= {"weights": "file.safetensors", "pretraining": learnt}
        return self.model_copy(update=changes)


def resized_side(size: int, crop: float | None) -> int:
    """Return the side to which a picture is resized before its centre of `size` is cut out."""
    return size if crop is None else round(size / crop)
