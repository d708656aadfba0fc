"""From files to RGB uint8 pixels of one size: PNG, JPEG, TIFF, arrays, DICOM, NIfTI."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sweep.data.dicom import is_dicom, read_picture
from sweep.data.scaling import to_8_bit
from sweep.data.volumes import Volume, is_nifti

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def open_picture(path: Path) -> Image.Image:
    """Open one picture; of a volume or of several frames the middle one.

    Raises whatever the library for its format raises for a damaged file.
    """
    if path.suffix.lower() == ".npy":
        return from_array(np.load(path, allow_pickle=False))
    if is_nifti(path):
        return Image.fromarray(Volume(path).slices(1)[0])
    if is_dicom(path):
        return Image.fromarray(read_picture(path))
    return Image.open(path)


def from_array(pixels: NDArray[np.generic]) -> Image.Image:
    """Return an array (H, W) or (H, W, 3) as a picture; other than 8 bits by its own range.

    Raises ValueError for another shape, and for values that are not numbers.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 and pixels.shape[2:] != (3,):
        raise ValueError(f"its shape {pixels.shape} is not (H, W) or (H, W, 3)")
    if pixels.dtype != np.uint8:
        pixels = to_8_bit(pixels, float(pixels.min()), float(pixels.max()))
    return Image.fromarray(pixels)


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
            upright = from_array(np.asarray(upright))
        rgb = upright.convert("RGB").resize((size, size), RESAMPLING[interpolation])
    return np.asarray(rgb, dtype=np.uint8)
