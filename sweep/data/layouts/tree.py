"""Walking folders of images: links are followed, hidden files passed over, loops refused."""

import os
from collections.abc import Iterator
from pathlib import Path

from sweep.data.dicom import SUFFIXES as DICOM_SUFFIXES
from sweep.data.dicom import is_dicom
from sweep.data.volumes import is_nifti
from sweep.errors import DataError

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"}
_KNOWN = PICTURE_SUFFIXES | DICOM_SUFFIXES | {".npy"}


def is_image(path: str) -> bool:
    """Tell an image file by its name; one without suffix by its first bytes."""
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - for each of 100,000 files
    return suffix in _KNOWN or is_nifti(Path(path)) or (not suffix and is_dicom(Path(path)))


def images_below(folder: Path) -> Iterator[str]:
    """Yield the paths of all image files below a folder, sorted within each folder.

    Raises DataError for a loop of links, and for a link that leads nowhere.
    """
    yield from _walk(str(folder), {_identity(str(path)) for path in (folder, *folder.parents)})


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden, sorted by name."""
    with os.scandir(folder) as entries:
        found = [e.path for e in entries if e.name[0] not in "._" and e.is_dir()]
    return [Path(path) for path in sorted(found)]


def _walk(folder: str, above: set[tuple[int, int]]) -> Iterator[str]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name[0] == "." or entry.name == "__MACOSX":
            continue
        if entry.is_dir():
            identity = _identity(entry.path)
            if identity in above:
                raise DataError(
                    f"{entry.path} is a link to a folder that holds it: a loop; remove the link"
                )
            yield from _walk(entry.path, above | {identity})
        elif entry.name != "DICOMDIR" and is_image(entry.path):
            if not entry.is_file():
                raise DataError(f"{entry.path} is a link that leads nowhere; remove or mend it")
            yield entry.path


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - for each of many folders
    return status.st_dev, status.st_ino
