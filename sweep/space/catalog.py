"""What the names of models say: timm's models and tags, families, how weights were learnt.

Nothing here imports torch or timm, so that a wrong name is refused at once.
"""

import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sweep.space.registries import BACKBONES


def family_name(model: str) -> str | None:
    """Return the registered family that a model names before its colon; None for timm's models."""
    name = model.partition(":")[0]
    return name if name in BACKBONES and name != "timm" else None


# ORG/NAME[@REVISION] as the hub allows it: neither part begins or ends with a sign, nor has two.
_PART = r"(?![\w.-]*(?:--|\.\.))\w(?:[\w.-]*\w)?"
REPOSITORY = rf"{_PART}/{_PART}(@[\w.-]+)?"


def model_source(model: str) -> str | None:
    """Return ``hf-hub`` or ``local-dir`` where a model names its place; None if it does not.

    Raises ValueError if there is nothing, or no repository, behind the colon.
    """
    source, _, place = model.partition(":")
    if source not in {"hf-hub", "local-dir"}:
        return None
    if source == "hf-hub" and not re.fullmatch(REPOSITORY, place):
        raise ValueError(f"{model!r}: write hf-hub:ORG/NAME, as the model's page is called")
    if not place:
        raise ValueError(f"{model!r}: write local-dir: and the path of a folder with a config.json")
    return source


@cache
def _timm_sources() -> str:
    spec = find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        return ""
    models = Path(spec.submodule_search_locations[0]) / "models"
    return "\n".join(path.read_text("utf-8") for path in sorted(models.glob("*.py")))


@cache
def timm_models() -> frozenset[str]:
    """Return the names of all timm models, read from timm's sources without importing them."""
    return frozenset(re.findall(r"@register_model\s*\ndef (\w+)\(", _timm_sources()))


def is_timm_model(name: str) -> bool:
    """Tell whether `name` is a timm model: an architecture, or one with a pre-trained tag."""
    architecture, _, tag = name.partition(".")
    if _is_registered_by_others(architecture):
        return True
    if architecture not in timm_models():
        return False
    # Some timm modules build model names, so a tag counts wherever the source quotes it.
    return not tag or re.search(rf"""[.'"]{re.escape(tag)}['"]""", _timm_sources()) is not None


def _is_registered_by_others(architecture: str) -> bool:
    """Tell whether a package that is imported has registered a model with timm."""
    loaded = sys.modules.get("timm")
    return loaded is not None and bool(loaded.is_model(architecture))


def timm_tags(architecture: str) -> list[str]:
    """Return the pre-trained variants of an architecture, such as ``vgg16.tv_in1k``."""
    pattern = rf"""['"]({re.escape(architecture)}\.\w+)['"]"""
    return sorted(set(re.findall(pattern, _timm_sources())))


# Pre-training methods by a part of a timm tag, a file's or a package's name. The first match
# counts: CLIP weights fine-tuned on ImageNet are CLIP's.
_PRETRAINING = (
    ("dinov3", "DINOv3"),
    ("dinov2|lvd142m", "DINOv2"),
    ("dino", "DINO"),
    ("clip|openai|laion|siglip|datacomp|metaclip", "CLIP"),
    ("mae", "MAE"),
    ("in1k|in12k|in21k|in22k|imagenet|efficientnet-lite", "ImageNet"),
)


def pretraining(model: str, weights: str) -> str:
    """Return how a backbone's weights were learnt, such as ImageNet, DINOv2 or random.

    Weights of which neither the timm name nor the file tells it go by their own name.
    """
    if weights == "none":
        return "random"
    named = f"{model} {'' if weights == 'hub' else weights}".lower()
    for pattern, name in _PRETRAINING:
        if re.search(rf"(?<![a-z0-9])(?:{pattern})", named):
            return name
    return "timm's default" if weights == "hub" else weights


def family(model: str) -> str:
    """Return what the names of one architecture in several sizes have in common.

    ``vit_small_patch14_dinov2`` and ``vit_large_patch14_dinov2``, ``resnet18`` and ``resnet50``.
    """
    architecture = model.partition(".")[0]
    sizes = r"(?:x?x?(?:tiny|small|large)|base|huge|giant|nano|pico|femto|atto|medium|so\d+m)"
    unsized = re.sub(rf"(?<![a-z]){sizes}(?![a-z])", "*", architecture)
    # Digits after a v are a version, as in dinov2 and mobilenetv3.
    return re.sub(r"(?<=[a-uw-z])\d+", "*", unsized)
