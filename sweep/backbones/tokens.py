"""Features of vision transformers: which of their tokens make the vector of an image.

As in DINOv2's linear evaluation (Oquab et al. 2024): the class token of the last block or of the
last four, with or without the mean of the patch tokens, all after the final norm.

Dimensions: B images, L tokens, D width of the transformer.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sweep.errors import BackboneError
from sweep.space.backbone import BackboneSpec

_LAST = 4
# Blocks of which the class token is taken, and whether the mean of the patch tokens is.
_PARTS = {
    "cls": (1, False),
    "mean": (0, True),
    "cls+mean": (1, True),
    "last4": (_LAST, False),
    "last4+mean": (_LAST, True),
}


def use_features(trunk: nn.Module, spec: BackboneSpec) -> int | None:
    """Let a trunk give the features that its entry names, from one pass; return their length.

    Names of its parameters stay. None is returned, and nothing changed, for timm's own features.

    Raises BackboneError if the network has no such features.
    """
    if spec.features is None:
        return None
    if spec.features == "pool":
        if _is_transformer(trunk):
            raise _refusal(spec, "pool is for networks of convolutions", trunk)
        return None
    if not _is_transformer(trunk):
        raise _refusal(spec, f"{spec.features} is for vision transformers", trunk)
    blocks, mean = _PARTS[spec.features]
    if blocks and getattr(trunk, "cls_token", None) is None:
        raise _refusal(spec, "it has no class token", trunk)
    depth = len(trunk.blocks)  # type: ignore[arg-type]
    if depth < blocks:
        raise _refusal(spec, f"it has {depth} blocks", trunk)
    trunk.forward = partial(_forward, trunk, blocks, mean)  # type: ignore[method-assign]
    return int(trunk.embed_dim) * (blocks + mean)  # type: ignore[arg-type]


def _forward(trunk: Any, blocks: int, mean: bool, images: Tensor) -> Tensor:
    """Return features (B, D * parts) of images (B, 3, S, S)."""
    found = trunk.forward_intermediates(
        images,
        indices=max(1, blocks),
        return_prefix_tokens=True,
        norm=True,
        output_fmt="NLC",
        intermediates_only=True,
    )
    parts = [prefix_BLD[:, 0] for _, prefix_BLD in found[len(found) - blocks :]]
    if mean:
        parts.append(found[-1][0].mean(dim=1))
    # Models that normalise after pooling have their norm here.
    return torch.cat([trunk.fc_norm(part) for part in parts], dim=1)


def features_in_python(features: str | None) -> str:
    """Return the expression by which `trunk` gives features of `images`."""
    if features is None or features == "pool":
        return "trunk(images)"
    blocks, mean = _PARTS[features]
    parts = [f"prefix[:, 0] for _, prefix in found[len(found) - {blocks}:]"] if blocks else []
    cls = f"*[{parts[0]}]" if parts else ""
    tokens = "found[-1][0].mean(dim=1)" if mean else ""
    return (
        f"(lambda found: torch.cat([trunk.fc_norm(part) for part in ["
        f"{', '.join(item for item in (cls, tokens) if item)}]], dim=1))("
        f"trunk.forward_intermediates(images, indices={max(1, blocks)}, return_prefix_tokens=True, "
        "norm=True, output_fmt='NLC', intermediates_only=True))"
    )


def features_had(trunk: nn.Module) -> tuple[str, ...]:
    """Return the names of the features that a trunk can give."""
    if not _is_transformer(trunk):
        return ("pool",)
    with_class = getattr(trunk, "cls_token", None) is not None
    depth = len(trunk.blocks)  # type: ignore[arg-type]
    fits = [name for name, (blocks, _) in _PARTS.items() if blocks <= depth]
    return tuple(name for name in fits if with_class or name == "mean")


def widest(names: Sequence[str]) -> str:
    """Return the features of which all of `names` are parts."""
    if "pool" in names:
        return "pool"
    blocks = max(_PARTS[name][0] for name in names)
    mean = any(_PARTS[name][1] for name in names)
    return next(name for name, parts in _PARTS.items() if parts == (blocks, mean))


def columns(of_all: str, name: str, size: int) -> slice | list[int]:
    """Return the columns in which features lie among others of which they are parts.

    Args:
        size: length of the others.
    """
    if of_all == name:
        return slice(None)
    (blocks, mean), (own_blocks, own_mean) = _PARTS[of_all], _PARTS[name]
    width = size // (blocks + mean)
    parts = [*range(blocks - own_blocks, blocks), *([blocks] if own_mean else [])]
    return [part * width + i for part in parts for i in range(width)]


def _is_transformer(trunk: nn.Module) -> bool:
    needed = ("blocks", "num_prefix_tokens", "forward_intermediates", "embed_dim", "fc_norm")
    return all(hasattr(trunk, name) for name in needed)


def _refusal(spec: BackboneSpec, why: str, trunk: nn.Module) -> BackboneError:
    return BackboneError(
        f"backbone {spec.name}: features {spec.features}: {why} ({spec.model}); allowed are "
        f"{', '.join(features_had(trunk))}, or leave features out for timm's own"
    )
