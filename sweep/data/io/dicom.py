"""DICOM: the frames of a file as a reader sees them, and a series of files as one volume.

The grey levels of a picture go through what the standard prescribes (PS3.3 C.11.1-2): rescale
slope and intercept, the window or table that the file brings or else its 1st to 99th
percentiles, and MONOCHROME1 inverted, so that more of what was measured is brighter.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.base.lfs import refuse_pointer
from sweep.data.io.extras import extra
from sweep.data.io.windowing import MAX_VOXELS, to_8_bit

SUFFIXES = {".dcm", ".dicom", ".ima"}
_MAGIC_AT = 128
_SAME_PLACE_MM = 1e-3
_UNEVEN = 0.1  # relative to the usual gap between slices
# Value representations of a data set's first elements: lengths, character set, image type, dates.
_VALUE_KINDS = {b"UL", b"CS", b"UI", b"DA", b"TM", b"SH", b"LO", b"OB"}


def is_dicom(path: Path) -> bool:
    """Tell a DICOM file by its name, or by its first bytes, with the preamble or without.

    Scanners and archives name files by their UID, so that what looks like a suffix is none.
    """
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(_MAGIC_AT + 4)
    except OSError:
        return False
    return head[_MAGIC_AT:] == b"DICM" or _begins_without_preamble(head)


def _begins_without_preamble(head: bytes) -> bool:
    """Tell a data set by its first element, of group 2 or 8: tag, then length or kind of value."""
    if len(head) < 8 or head[:2] not in (b"\x02\x00", b"\x08\x00"):
        return False
    element, kind = int.from_bytes(head[2:4], "little"), head[4:6]
    explicit = kind in _VALUE_KINDS
    return element < 0x100 and (explicit or int.from_bytes(head[4:8], "little") <= len(head))


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a file's picture, (H, W) or (H, W, 3) uint8; of several frames the middle one.

    Raises ValueError, or what pydicom raises for a damaged file, if there is none.
    """
    dataset = _read(path)
    with _quiet():
        frames = _frames(dataset)
        frame = frames[len(frames) // 2]
        if frame.ndim == 3:
            return to_8_bit(frame, 0, 2.0 ** int(dataset.BitsStored) - 1)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            colours = extra("pydicom").pixels.apply_color_lut(frame, dataset)
            return to_8_bit(colours, 0, float(np.iinfo(colours.dtype).max))
        levels = _to_display(_apply_rescale(frame, dataset), frame, dataset)
    return 255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels


def read_volume(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return a series folder, or one file of several frames, as voxels (X, Y, Z) and affine.

    The affine (4, 4) maps voxels to millimetres, right, anterior and superior positive, from
    the positions and orientation that the files state; where they state none, the slices are
    taken as axial in the order of their instance numbers.

    Raises ValueError if the files are not one series of equal slices.
    """
    if path.is_file():
        dataset = _read(path)
        with _quiet():
            frames = [_apply_rescale(frame, dataset) for frame in _frames(dataset)]
        if frames[0].ndim != 2:
            raise ValueError("it holds colour pictures, not a volume")
        return _stack(frames), np.diag([-1.0, -1.0, 1.0, 1.0])
    files = series_files(path)
    if not files:
        raise ValueError("the folder holds no DICOM files")
    slices = []
    for file in files:
        try:
            slices.append(_read(file))
        except Exception as error:
            raise ValueError(f"{file.name}: {error}") from None
    series = {str(item.get("SeriesInstanceUID", "")) for item in slices}
    if len(series) > 1:
        raise ValueError(f"the folder holds {len(series)} series; give each one of its own")
    return _of_series(slices)


def series_files(folder: Path) -> list[Path]:
    """Return the DICOM files of a series folder, sorted by name."""
    entries = sorted(item for item in folder.iterdir() if not item.name.startswith("."))
    return [item for item in entries if item.is_file() and _may_be_slice(item)]


def _may_be_slice(path: Path) -> bool:
    return path.name != "DICOMDIR" and is_dicom(path)


def _of_series(slices: list[Any]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    placed = all("ImagePositionPatient" in s and "ImageOrientationPatient" in s for s in slices)
    if placed:
        cosines = np.asarray(slices[0].ImageOrientationPatient, dtype=np.float64)
        along_row, along_column = cosines[:3], cosines[3:]
        normal = np.cross(along_row, along_column)
        slices.sort(key=lambda s: _place(s, normal))
        _refuse_repeated([_place(item, normal) for item in slices])
    else:
        slices.sort(key=lambda s: int(s.get("InstanceNumber") or 0))
    with _quiet():
        frames = [_apply_rescale(_frames(item)[0], item) for item in slices]
    if len({frame.shape for frame in frames}) > 1 or frames[0].ndim != 2:
        raise ValueError("its slices differ in size or are in colour")
    voxels = _stack(frames)
    if not placed:
        return voxels, np.diag([-1.0, -1.0, 1.0, 1.0])
    first, last = (np.asarray(s.ImagePositionPatient, np.float64) for s in (slices[0], slices[-1]))
    step = (last - first) / max(1, len(slices) - 1) if len(slices) > 1 else normal
    row_mm, column_mm = (float(v) for v in slices[0].get("PixelSpacing", (1, 1)))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along_row * column_mm, along_column * row_mm
    affine[:3, 2], affine[:3, 3] = step, first
    # In DICOM coordinates left and posterior are positive; in NIfTI right and anterior are.
    return voxels, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _place(item: Any, normal: NDArray[np.float64]) -> float:
    """Return where a slice lies along the normal of its series, in millimetres."""
    return float(np.dot(normal, np.asarray(item.ImagePositionPatient, dtype=np.float64)))


def _refuse_repeated(places: list[float]) -> None:
    gaps = np.diff(places)
    if len(gaps) and gaps.min() < _SAME_PLACE_MM:
        raise ValueError(
            f"{int((gaps < _SAME_PLACE_MM).sum())} of its {len(places)} slices lie where another "
            "one lies: several phases or echoes? Give each a folder of its own"
        )


def uneven_gaps(folder: Path) -> str | None:
    """Say that slices of a DICOM series seem to be missing, or return None."""
    pydicom = extra("pydicom")
    tags = ["ImagePositionPatient", "ImageOrientationPatient"]
    with _quiet():
        heads = [
            pydicom.dcmread(f, stop_before_pixels=True, specific_tags=tags, force=True)
            for f in series_files(folder)
        ]
    placed = [item for item in heads if all(tag in item for tag in tags)]
    if len(placed) < 3:
        return None
    cosines = np.asarray(placed[0].ImageOrientationPatient, dtype=np.float64)
    gaps = np.diff(sorted(_place(item, np.cross(cosines[:3], cosines[3:])) for item in placed))
    usual = float(np.median(gaps))
    odd = int((np.abs(gaps - usual) > _UNEVEN * usual).sum())
    if not odd:
        return None
    return f"{odd} of {len(gaps)} gaps between slices are not {usual:.2f} mm as the others"


def _stack(frames: list[NDArray[Any]]) -> NDArray[np.float32]:
    """Return (rows, columns) frames as voxels (X, Y, Z): x along a row, y down a column."""
    return np.stack([frame.T for frame in frames], axis=2).astype(np.float32)


def _read(path: Path) -> Any:
    pydicom = extra("pydicom")
    with _quiet():
        dataset = pydicom.dcmread(path, force=_lacks_preamble(path))
        # A file without preamble cannot name its transfer syntax.
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit = dataset.original_encoding[0]
            kinds = pydicom.uid
            dataset.file_meta.TransferSyntaxUID = (
                kinds.ImplicitVRLittleEndian if implicit else kinds.ExplicitVRLittleEndian
            )
        if "PixelData" not in dataset or not dataset.get("Rows") or not dataset.get("Columns"):
            raise ValueError("the DICOM file holds no pixels")
        frames = int(dataset.get("NumberOfFrames") or 1)
        voxels = dataset.Rows * dataset.Columns * frames * dataset.get("SamplesPerPixel", 1)
        if voxels > MAX_VOXELS:
            raise ValueError(f"{voxels:,} values are more than the {MAX_VOXELS:,} that are read")
    return dataset


def _lacks_preamble(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_MAGIC_AT + 4)
    refuse_pointer(head)
    return head[_MAGIC_AT:] != b"DICM" and _begins_without_preamble(head)


def _frames(dataset: Any) -> NDArray[Any]:
    """Return the stored values (F, H, W) or (F, H, W, 3); colours as RGB."""
    pixels = dataset.pixel_array
    single = int(dataset.get("NumberOfFrames") or 1) == 1
    return np.asarray(pixels[None] if single else pixels)


def _apply_rescale(frame: NDArray[Any], dataset: Any) -> NDArray[Any]:
    return np.asarray(extra("pydicom").pixels.apply_modality_lut(frame, dataset), dtype=np.float64)


def _to_display(
    measured: NDArray[np.float64], frame: NDArray[Any], dataset: Any
) -> NDArray[np.uint8]:
    """Return the grey levels that the file's first window or table gives, or percentiles."""
    if "VOILUTSequence" in dataset:
        return _apply_lookup_table(measured, dataset.VOILUTSequence[0])
    center, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if center is not None and width is not None and width >= 1:
        if dataset.get("VOILUTFunction") == "SIGMOID":
            return to_8_bit(1 / (1 + np.exp(-4 * (measured - center) / width)), 0, 1)
        if dataset.get("VOILUTFunction") == "LINEAR_EXACT":
            return to_8_bit(measured, center - width / 2, center + width / 2)
        return _apply_window(measured, center, width)
    inside = measured[frame != dataset.get("PixelPaddingValue")]
    low, high = np.percentile(inside if inside.size else measured, [1, 99])
    return to_8_bit(measured, float(low), float(high))


def _apply_window(measured: NDArray[np.float64], center: float, width: float) -> NDArray[np.uint8]:
    """Return the grey levels of a LINEAR window (PS3.3 C.11.2.1.2.1), one unit narrower."""
    middle = center - 0.5
    if width == 1:
        return np.where(measured > middle, 255, 0).astype(np.uint8)
    return to_8_bit(measured, middle - (width - 1) / 2, middle + (width - 1) / 2)


def _apply_lookup_table(measured: NDArray[np.float64], table: Any) -> NDArray[np.uint8]:
    """Return the grey levels of a VOI table; pydicom's own wraps values beyond 8-bit tables."""
    count, first, bits = (int(value) for value in table.LUTDescriptor)
    data = table.LUTData
    entries = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data)
    index = np.clip(np.rint(measured) - first, 0, min(count or 2**16, len(entries)) - 1)
    return to_8_bit(entries[index.astype(np.int64)], 0, 2**bits - 1)


def _first(value: Any) -> float | None:
    items = value if isinstance(value, (list, tuple)) or hasattr(value, "insert") else [value]
    return None if not len(items) or items[0] in (None, "") else float(items[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings: they quote the values of tags, which may name the patient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
