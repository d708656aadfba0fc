"""From files to RGB uint8 pixels of one size: PNG, JPEG, TIFF, arrays, DICOM, NIfTI."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sweep.base.lfs import refuse_pointer
from sweep.base.settings import MAX_PIXELS
from sweep.data.io.dicom import is_dicom, read_picture
from sweep.data.io.volumes import VolumeFile, is_nifti
from sweep.data.io.windowing import to_8_bit
from sweep.space.backbone import resized_side

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# An image of more pixels is treated as a decompression bomb.
if os.environ.get(MAX_PIXELS, "").isdecimal():
    Image.MAX_IMAGE_PIXELS = int(os.environ[MAX_PIXELS])

_NEVER_DICOM = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"}
_HEAD_BYTES = 64
_PNG_GREY = 0
_TIFF_BITS = 258  # the TIFF tag BitsPerSample


def open_picture(path: Path) -> Image.Image:
    """Open one picture; of a volume or of several frames the middle one.

    Raises whatever the library for its format raises for a damaged file.
    """
    if path.suffix.lower() == ".npy":
        return from_array(np.load(path, allow_pickle=False))
    if is_nifti(path):
        return Image.fromarray(VolumeFile(path).slices(1)[0])
    if path.suffix.lower() not in _NEVER_DICOM and is_dicom(path):
        return Image.fromarray(read_picture(path))
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    refuse_pointer(head)
    if _is_deep_colour_png(head):
        return _deep_png(path)
    image = Image.open(path)
    _refuse_deep_colour(image)
    return image


def _is_deep_colour_png(head: bytes) -> bool:
    """Tell a PNG of 16 bits a channel with more than grey: Pillow would keep 8 bits of them."""
    is_png = head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= _HEAD_BYTES
    return is_png and head[24] == 16 and head[25] != _PNG_GREY


def _deep_png(path: Path) -> Image.Image:
    """Return a colour PNG of 16 bits a channel, scaled by the range of all its colours."""
    import torch  # processes that only decode do not need torch, which takes seconds to import
    from torchvision.io import ImageReadMode, decode_png

    width, height = Image.open(path).size  # Pillow raises an error if the image is too large
    content = torch.from_numpy(np.fromfile(path, dtype=np.uint8))
    pixels_CHW = decode_png(content, ImageReadMode.UNCHANGED).numpy()
    colours = 3 if len(pixels_CHW) >= 3 else 1  # the alpha channel is dropped
    if pixels_CHW.shape[1:] != (height, width):
        raise ValueError("its size is not what its header says")
    return from_array(pixels_CHW[:colours].transpose(1, 2, 0))


def _refuse_deep_colour(image: Image.Image) -> None:
    """Raise ValueError for a TIFF of 16 bits a colour, of which Pillow reads 8."""
    bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS, ())
    if isinstance(bits, tuple) and len(bits) >= 3 and max(bits) > 8:
        raise ValueError(f"it has {max(bits)} bits a colour, which is not read: save it as PNG")


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


def decode(
    image: Image.Image, size: int, interpolation: str, crop: float | None = None
) -> NDArray[np.uint8]:
    """Return the picture as (size, size, 3) RGB, orientation applied.

    The whole picture is resized to a square: the sign of a disease may lie at its border. With
    `crop` its shorter side becomes ``size / crop``, and the centre is cut out, as timm's
    ``crop_pct`` does it. More than 8 bits a pixel are scaled from the picture's own range.

    Raises whatever Pillow raises for a damaged file.
    """
    side = resized_side(size, crop)
    with image:
        # Pillow decodes JPEG at 1/2, 1/4 or 1/8; twice the target size keeps it sharp.
        image.draft(None, (2 * side, 2 * side))
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith(("I", "F")):
            upright = from_array(np.asarray(upright))
        rgb = upright.convert("RGB")
        if crop is None:
            rgb = rgb.resize((size, size), RESAMPLING[interpolation])
        else:
            rgb = _centre(rgb, size, side, RESAMPLING[interpolation])
    return np.asarray(rgb, dtype=np.uint8)


def _centre(image: Image.Image, size: int, side: int, resampling: Image.Resampling) -> Image.Image:
    """Resize the shorter side to `side`, and cut out the centre, as torchvision does both."""
    width, height = image.size
    shorter = min(width, height)
    width, height = int(side * width / shorter), int(side * height / shorter)
    image = image.resize((width, height), resampling)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))
