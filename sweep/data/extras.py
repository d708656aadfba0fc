"""Packages that not every user needs: imported when a file asks for them, named when absent."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from sweep.errors import DataError

_NEEDED_FOR = {
    "pydicom": ("medical", "DICOM files"),
    "nibabel": ("medical", "NIfTI files"),
    "medmnist": ("medmnist", "downloading MedMNIST"),
}


def extra(package: str) -> ModuleType:
    """Import a package of an extra.

    Raises DataError, naming the extra, if it is not installed.
    """
    name, purpose = _NEEDED_FOR[package]
    if find_spec(package) is None:
        raise DataError(
            f"{purpose} need the package {package}, of the extra sweep[{name}]: "
            f"pip install 'sweep-backbones[{name}]'"
        )
    return import_module(package)


def decoders() -> list[str]:
    """Return the installed packages that decode compressed DICOM pixels."""
    return [name for name in ("gdcm", "pylibjpeg", "openjpeg", "libjpeg", "jpeg_ls") if _has(name)]


def _has(name: str) -> bool:
    return find_spec(name) is not None
