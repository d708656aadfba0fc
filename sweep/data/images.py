"""From what a layout names to RGB uint8 pixels of one size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sweep.data.layouts import location, read_npz
from sweep.space import DatasetSpec

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

Opener = Callable[[str], Image.Image]


def opener(spec: DatasetSpec, data_root: Path) -> Opener:
    """Return the function that opens a sample of a dataset by its manifest path."""
    path = location(spec, data_root)
    if spec.layout == "medmnist":
        arrays = read_npz(spec, path)

        def open_row(name: str) -> Image.Image:
            split, row = name.split("/")
            return Image.fromarray(arrays[f"{split}_images"][int(row)])

        return open_row
    if spec.layout == "digits":
        from sklearn.datasets import load_digits

        digits = (load_digits().images * (255 / 16)).round().astype(np.uint8)
        return lambda name: Image.fromarray(digits[int(name)])
    return lambda name: Image.open(path / name if path.is_dir() else path.parent / name)


def decode(image: Image.Image, size: int, interpolation: str) -> NDArray[np.uint8]:
    """Return the whole picture as (size, size, 3) RGB, orientation applied.

    The picture is resized to a square, not cropped: the sign of a disease may lie at its
    border. More than 8 bits a pixel are scaled from the picture's own range.

    Raises whatever Pillow raises for a damaged file.
    """
    with image:
        # JPEG can be decoded at a half, quarter or eighth; twice the target keeps it sharp.
        image.draft(None, (2 * size, 2 * size))
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith(("I", "F")):
            upright = _to_8_bit(upright)
        rgb = upright.convert("RGB").resize((size, size), RESAMPLING[interpolation])
    return np.asarray(rgb, dtype=np.uint8)


def _to_8_bit(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float64)
    low, high = float(pixels.min()), float(pixels.max())
    scaled = (pixels - low) * (255 / (high - low)) if high > low else pixels * 0
    return Image.fromarray(scaled.round().astype(np.uint8))
