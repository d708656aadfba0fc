"""Where a network looks: attention rollout of transformers, Grad-CAM of networks with maps.

Maps are those of convolutional networks, and of transformers with windows, as Swin.

A heat map is a hint, not a reason: neither method says what would change the prediction.

Dimensions: B images, S side in pixels, H heads, N tokens, P patches, G side of a grid of patches.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils import AttentionExtract
from torch import Tensor, nn
from torchvision.ops import Permute

from sweep.backbones.backbone import Network
from sweep.errors import SweepError
from sweep.train.features import normalise
from sweep.train.kept import KeptModel

_SMALLEST_GRID = 2  # a coarser map says nothing


def heat_maps(model: KeptModel, images: NDArray[np.uint8], classes: list[int]) -> Tensor | None:
    """Return where a model looks in images, or None if neither method suits its network.

    Args:
        images: uint8 (B, S, S, 3).
        classes: of each image, the one whose logit Grad-CAM explains.

    Returns:
        float32 (B, S, S), from 0 to 1 in each image; NaN of an image whose map is the same
        everywhere, as Grad-CAM's where no part of it speaks for the class.

    Raises:
        SweepError: captum, which Grad-CAM needs, is not installed.
    """
    inputs = normalise(torch.from_numpy(images), model.preprocessing).contiguous()
    found = _attention_rollout(model.network.trunk, inputs)
    if found is None:
        found = _grad_cam(model.network, inputs, classes)
    return None if found is None else _as_pixels(found, model.image_size)


def _as_pixels(maps_BGG: Tensor, size: int) -> Tensor:
    """Return maps from 0 to 1 at the size of the images; NaN of those without a difference."""
    maps = nn.functional.interpolate(
        maps_BGG[:, None].float(), (size, size), mode="bilinear", align_corners=False
    )[:, 0]
    low, high = (getattr(maps, end)(dim=(1, 2), keepdim=True) for end in ("amin", "amax"))
    scaled: Tensor = (maps - low) / (high - low)
    return torch.where(high > low, scaled, torch.nan)


def _attention_rollout(trunk: nn.Module, inputs: Tensor) -> Tensor | None:
    """Return the attention that reaches each patch through all blocks (Abnar and Zuidema 2020).

    None if the network has no blocks of attention among all of its tokens.
    """
    with _unfused_attention(trunk), torch.inference_mode():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                maps = AttentionExtract(trunk, method="hook", names=["blocks.*.attn.attn_drop"])
            attentions = list(maps(inputs).values())
        except (RuntimeError, ValueError, KeyError):  # no block of that name
            return None
    shapes = {tuple(item.shape[2:]) for item in attentions}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 2 or shape[0] != shape[1]:
        return None  # windows of attention, as Swin's
    tokens = shape[0]
    flow = torch.eye(tokens).expand(len(inputs), -1, -1)
    for attention_BHNN in attentions:
        mixed = (attention_BHNN.float().mean(dim=1) + torch.eye(tokens)) / 2
        flow = mixed / mixed.sum(dim=-1, keepdim=True) @ flow
    prefix = int(getattr(trunk, "num_prefix_tokens", 0))
    by_class_token = getattr(trunk, "cls_token", None) is not None
    from_BN = flow[:, 0] if by_class_token else flow[:, prefix:].mean(dim=1)
    patches_BP = from_BN[:, prefix:]
    side = math.isqrt(patches_BP.shape[1])
    if side < _SMALLEST_GRID or side**2 != patches_BP.shape[1]:
        return None
    return patches_BP.reshape(len(inputs), side, side)


@contextmanager
def _unfused_attention(trunk: nn.Module) -> Iterator[None]:
    """Let blocks compute their attention where hooks see it, not in one fused operation."""
    fused = [module for module in trunk.modules() if getattr(module, "fused_attn", False) is True]
    for module in fused:
        module.fused_attn = False  # type: ignore[assignment]
    yield
    for module in fused:
        module.fused_attn = True  # type: ignore[assignment]


def _grad_cam(network: Network, inputs: Tensor, classes: list[int]) -> Tensor | None:
    """Return Grad-CAM (Selvaraju et al. 2017) at the last layer with maps; None without one."""
    layer = _last_maps(network, inputs[:1])
    if layer is None:
        return None
    try:
        from captum.attr import LayerGradCam
    except ImportError:
        raise SweepError(
            "heat maps of convolutional networks need the package captum, of the extra "
            "sweep[heatmaps]: pip install 'sweep-backbones[heatmaps]'; or say --no-heat-maps"
        ) from None
    with _channels_first(network.trunk, layer) as maps:
        explain: Callable[..., Tensor] = LayerGradCam(network, maps).attribute
        try:
            found = explain(inputs.clone(), target=classes, relu_attributions=True)
        except RuntimeError:  # a head without gradients
            return None
    return found.detach()[:, 0]


def _is_channels_last(trunk: nn.Module) -> bool:
    """Tell whether maps inside of a trunk are (B, G, G, D), as Swin's."""
    return str(getattr(trunk, "output_fmt", "NCHW")) == "NHWC"


def _last_maps(network: Network, image: Tensor) -> nn.Module | None:
    """Return the last layer whose output is maps: (1, D, G, G), of a few trunks (1, G, G, D)."""
    found: list[nn.Module] = []
    of_grid = slice(1, 3) if _is_channels_last(network.trunk) else slice(2, 4)

    def note(module: nn.Module, _: object, output: object) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4:
            return
        if min(output.shape[of_grid]) >= _SMALLEST_GRID:
            found.append(module)

    leaves = [m for m in network.trunk.modules() if not any(m.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    return found[-1] if found else None


@contextmanager
def _channels_first(trunk: nn.Module, layer: nn.Module) -> Iterator[nn.Module]:
    """Yield a layer that gives the maps of `layer` as (B, D, G, G), as Grad-CAM takes them."""
    if not _is_channels_last(trunk):
        yield layer
        return
    name = next(name for name, module in trunk.named_modules() if module is layer)
    first = Permute([0, 3, 1, 2])
    trunk.set_submodule(name, nn.Sequential(layer, first, Permute([0, 2, 3, 1])))
    try:
        yield first
    finally:
        trunk.set_submodule(name, layer)
