"""Augmentation of a batch on its device: each image has its own draw, in the same operations.

What is drawn fits the kind of image. Nothing is mirrored where the sides of the body differ: a
mirrored chest has its heart on the right.

Dimensions: B images of S x S pixels.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """How far an image may be changed.

    Attributes:
        mirror, upend: probability of a horizontal and of a vertical flip.
        degrees: largest rotation, in either direction.
        shift: largest shift, as a share of the side.
        zoom: largest change of scale, as a share.
        brightness: largest change, as a share of the image's own standard deviation.
        contrast, saturation: largest change, as a share.
    """

    mirror: float = 0.0
    upend: float = 0.0
    degrees: float = 10.0
    shift: float = 0.05
    zoom: float = 0.1
    brightness: float = 0.1
    contrast: float = 0.1
    saturation: float = 0.0


AUGMENTATIONS: dict[str, Augmentation] = {
    "light": Augmentation(mirror=0.5),
    "no_flip": Augmentation(),
    "xray": Augmentation(degrees=7.0, contrast=0.2, brightness=0.2),
    "fundus": Augmentation(mirror=0.5, degrees=20.0, contrast=0.2, saturation=0.1),
    "dermoscopy": Augmentation(
        mirror=0.5, upend=0.5, degrees=180.0, zoom=0.2, contrast=0.2, saturation=0.2
    ),
    "mri": Augmentation(brightness=0.2, contrast=0.2),
}


def augment(images: Tensor, how: Augmentation) -> Tensor:
    """Return normalised images (B, 3, S, S), each with a draw of its own from torch's generator.

    What comes into view beyond the border is 0, the mean of the normalisation.
    """
    moved = warp(images, _matrices(len(images), how, images))
    return _recolour(moved, how)


def warp(images: Tensor, matrices_B23: Tensor) -> Tensor:
    """Return the images seen through affine maps of output to input coordinates, from -1 to 1."""
    grid = functional.affine_grid(matrices_B23, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", align_corners=False)


def _uniform(count: int, most: float, like: Tensor) -> Tensor:
    """Draw from -most to most; on the CPU, so that every device gets the same."""
    return ((torch.rand(count) * 2 - 1) * most).to(like.device, non_blocking=True)


def _matrices(count: int, how: Augmentation, like: Tensor) -> Tensor:
    """Draw affine maps (B, 2, 3): rotation, scale, flips and shift."""
    angle_B = _uniform(count, math.radians(how.degrees), like)
    scale_B = 1 / (1 + _uniform(count, how.zoom, like))
    mirrored_B = 1 - 2 * (_uniform(count, 1.0, like) < 2 * how.mirror - 1).float()
    upended_B = 1 - 2 * (_uniform(count, 1.0, like) < 2 * how.upend - 1).float()
    cosine_B, sine_B = scale_B * angle_B.cos(), scale_B * angle_B.sin()
    across_B3 = torch.stack(
        [cosine_B * mirrored_B, -sine_B * upended_B, _uniform(count, 2 * how.shift, like)], dim=1
    )
    down_B3 = torch.stack(
        [sine_B * mirrored_B, cosine_B * upended_B, _uniform(count, 2 * how.shift, like)], dim=1
    )
    return torch.stack([across_B3, down_B3], dim=1)


def _recolour(images: Tensor, how: Augmentation) -> Tensor:
    """Change brightness, contrast about the mean, and saturation of each image."""
    count = len(images)
    shape = (count, 1, 1, 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    spread = images.std(dim=(1, 2, 3), keepdim=True)
    brighter = _uniform(count, how.brightness, images).view(shape) * spread
    stronger = 1 + _uniform(count, how.contrast, images).view(shape)
    result = (images - mean) * stronger + mean + brighter
    if how.saturation:
        grey = result.mean(dim=1, keepdim=True)
        result = grey + (result - grey) * (1 + _uniform(count, how.saturation, images).view(shape))
    return result
