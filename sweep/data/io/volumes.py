"""Volumes: from NIfTI files, DICOM series and folders of slices to the axial slices to look at.

Its grey levels run from the 0.5th to the 99.5th percentile inside the head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.data.io import dicom
from sweep.data.io.extras import extra
from sweep.data.io.windowing import MAX_VOXELS, to_8_bit

_PERCENTILES = (0.5, 99.5)
_HISTOGRAM_BINS = 256


def is_nifti(path: Path) -> bool:
    """Tell a NIfTI file by its name."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_volume(path: Path) -> NDArray[np.float32]:
    """Return a volume (Z, H, W): axial slices from below to above, as a reader looks at them.

    Anterior is up and the patient's right is on the left of each slice, whatever the order in
    which the file stores its voxels; oblique volumes are taken along the nearest axes.

    Args:
        path: a NIfTI file, a DICOM file of several frames, or the folder of a DICOM series.

    Raises:
        ValueError: it holds no volume, or infinite values.
    """
    nibabel = extra("nibabel")
    if is_nifti(path):
        voxels, affine = _read_nifti(path)
    else:
        voxels, affine = dicom.read_volume(path)
    voxels = _with_background(voxels)
    turns = nibabel.orientations.io_orientation(affine)
    canonical_XYZ = nibabel.orientations.apply_orientation(voxels, turns)
    # NIfTI's canonical axes point right, anterior and superior; an image's point left and down.
    return np.ascontiguousarray(canonical_XYZ.transpose(2, 1, 0)[:, ::-1, ::-1])


def _with_background(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give voxels that are NaN, as tools write outside of a mask, the lowest value of the others.

    Raises ValueError if there is no other, or if one is infinite.
    """
    missing = np.isnan(voxels)
    if bad := int(np.count_nonzero(np.isinf(voxels))):
        raise ValueError(f"{bad:,} of its {voxels.size:,} voxels are infinite")
    if missing.all():
        raise ValueError(f"{voxels.size:,} of its {voxels.size:,} voxels are not numbers (NaN)")
    return np.where(missing, voxels[~missing].min(), voxels) if missing.any() else voxels


def _read_nifti(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    nibabel = extra("nibabel")
    image = nibabel.load(path)
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise ValueError(f"its shape {image.shape} is not that of one volume")
    if np.prod(shape, dtype=np.float64) > MAX_VOXELS:
        raise ValueError(f"its shape {shape} is more than the {MAX_VOXELS:,} voxels that are read")
    return np.asarray(image.dataobj, dtype=np.float32).reshape(shape), image.affine


def window(volume_ZHW: NDArray[np.float32]) -> tuple[float, float]:
    """Return the values to show as black and white: percentiles inside the head.

    Where a tenth of the voxels or more have the lowest value (skull-stripped or padded), all
    others are inside; else those above half of Otsu's threshold (Otsu 1979).
    """
    lowest = volume_ZHW.min()
    inside = volume_ZHW > lowest
    if inside.mean() > 0.9:
        inside = volume_ZHW > lowest + (_otsu(volume_ZHW) - lowest) / 2
    low = high = lowest
    if inside.any():
        low, high = np.percentile(volume_ZHW[inside], _PERCENTILES)
    return (float(low), float(high)) if high > low else (float(lowest), float(volume_ZHW.max()))


def select_slices(depth: int, count: int, tumour_Z: NDArray[np.int64] | None) -> list[int]:
    """Return the `count` slices to look at, the most telling first.

    Those with the most tumour where its extent is known, else the middle ones.

    Args:
        depth: slices there are.
        tumour_Z: voxels of tumour in each slice, shape (depth,).

    Raises:
        ValueError: there are fewer slices than asked for.
    """
    if depth < count:
        slices = "one slice" if depth == 1 else f"{depth} slices"
        raise ValueError(f"it has {slices}; {count} are asked for (key 'slices' of the dataset)")
    if tumour_Z is None or not tumour_Z.any():
        first = (depth - count) // 2
        return list(range(first, first + count))
    # Slices without tumour come last, by their distance from the slice with most tumour.
    distance_Z = np.abs(np.arange(depth) - int(tumour_Z.argmax()))
    order = np.lexsort((distance_Z, -tumour_Z))
    return [int(z) for z in order[:count]]


@dataclass(frozen=True)
class VolumeFile:
    """Where a volume and the mask of its tumour are."""

    path: Path
    mask: Path | None = None

    def slices(self, count: int) -> list[NDArray[np.uint8]]:
        """Return `count` axial slices (H, W) uint8; see `select_slices`."""
        volume_ZHW = read_volume(self.path)
        tumour_Z = None
        if self.mask is not None:
            mask_ZHW = read_volume(self.mask) > 0
            if mask_ZHW.shape != volume_ZHW.shape:
                raise ValueError(
                    f"its shape {volume_ZHW.shape} is not that of its mask {self.mask.name}, "
                    f"{mask_ZHW.shape}"
                )
            tumour_Z = mask_ZHW.sum(axis=(1, 2))
        low, high = window(volume_ZHW)
        chosen = select_slices(len(volume_ZHW), count, tumour_Z)
        return [to_8_bit(volume_ZHW[z], low, high) for z in chosen]

    def files(self) -> Sequence[Path]:
        """Return the files that the slices depend on."""
        own = dicom.series_files(self.path) if self.path.is_dir() else [self.path]
        return [*own, *([self.mask] if self.mask else [])]


def _otsu(values: NDArray[Any]) -> float:
    """Return the threshold that parts a histogram with the largest variance between its sides."""
    counts, edges = np.histogram(values, bins=_HISTOGRAM_BINS)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
        between = np.nan_to_num(below * above * gap**2)
    # Several thresholds may be equally good; their middle is used.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float((centers[best[0]] + centers[best[-1]]) / 2)
