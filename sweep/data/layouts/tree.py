"""Walking folders of images: links are followed, files of systems passed over, loops refused."""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import Image

from sweep.data.io.dicom import SUFFIXES as DICOM_SUFFIXES
from sweep.data.io.dicom import is_dicom
from sweep.data.io.volumes import is_nifti
from sweep.errors import DataError

# Pillow decodes these only with external programs, or they hold no image.
_NO_PICTURES = {"BUFR", "GRIB", "HDF5", "MPEG", "EPS", "WMF"}

# Files that operating systems, network storage and notebooks create.
_OF_A_SYSTEM = re.compile(
    r"""\..*|__MACOSX|__pycache__|@eaDir|@tmp|@Recycle|@Recently-Snapshot|\#recycle|\#snapshot
    |\$RECYCLE\.BIN|RECYCLER|System\ Volume\ Information|lost\+found|found\.\d+
    |Network\ Trash\ Folder|Temporary\ Items|Thumbs\.db|desktop\.ini|Icon\r|DICOMDIR
    |.*@SynoEAStream|.*@SynoResource""",
    re.VERBOSE | re.IGNORECASE,
)


@cache
def picture_suffixes() -> frozenset[str]:
    """Return the suffixes of every kind of picture that Pillow reads."""
    known = Image.registered_extensions()
    readable = {suffix for suffix, kind in known.items() if kind in Image.OPEN}
    return frozenset(suffix for suffix in readable if known[suffix] not in _NO_PICTURES)


def is_image(path: str) -> bool:
    """Tell an image file by its name; one of an unknown suffix, or of none, by its first bytes."""
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - for each of 100,000 files
    if suffix in picture_suffixes() or suffix in DICOM_SUFFIXES or suffix == ".npy":
        return True
    return is_nifti(Path(path)) or is_dicom(Path(path))


def is_of_a_system(name: str) -> bool:
    """Tell files and folders that are no data by their name: hidden ones, and those of systems."""
    return _OF_A_SYSTEM.fullmatch(name) is not None


def images_below(folder: Path) -> Iterator[str]:
    """Yield the paths of all image files below a folder, sorted within each folder.

    Raises DataError for a loop of links, and for a link that leads nowhere.
    """
    return (path for path in files_below(folder) if is_image(path))


def photographs(root: Path, letters: str) -> Iterator[Path]:
    """Yield the photographs below `root` (not masks of discs) named by one of these letters."""
    for path in images_below(root):
        relative = Path(path).relative_to(root)
        is_photograph = relative.suffix.lower() in {".jpg", ".jpeg", ".png"}
        if is_photograph and relative.stem[0] in letters and relative.stem[1:].isdecimal():
            yield relative


def files_below(folder: Path) -> Iterator[str]:
    """Yield the paths of all files below a folder that are of no system, sorted.

    Raises DataError for a loop of links, and for a link to an image that leads nowhere.
    """
    yield from _walk(str(folder), {_identity(str(path)) for path in (folder, *folder.parents)})


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder that are of no system, sorted by name."""
    with os.scandir(folder) as entries:
        found = [e.path for e in entries if not is_of_a_system(e.name) and e.is_dir()]
    return [Path(path) for path in sorted(found)]


def _walk(folder: str, above: set[tuple[int, int]]) -> Iterator[str]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if is_of_a_system(entry.name):
            continue
        if entry.is_dir():
            identity = _identity(entry.path)
            if identity in above:
                raise DataError(
                    f"{entry.path} is a link to a folder that holds it: a loop; remove the link"
                )
            yield from _walk(entry.path, above | {identity})
        elif entry.is_file():
            yield entry.path
        elif is_image(entry.path):
            raise DataError(f"{entry.path} is a link that leads nowhere; remove or mend it")


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - for each of many folders
    return status.st_dev, status.st_ino
