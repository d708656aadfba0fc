"""Packages that not every user needs: imported when a file asks for them, named when absent."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from sweep.errors import DataError

_NEEDED_FOR = {
    "pydicom": ("medical", "DICOM files"),
    "nibabel": ("medical", "NIfTI files"),
    "medmnist": ("medmnist", "downloads of MedMNIST"),
}


def extra(package: str) -> ModuleType:
    """Import a package of an extra.

    Raises DataError, naming the extra, if it is not installed.
    """
    if not _has(package):
        raise DataError(_needed(package))
    return import_module(package)


def absent() -> list[str]:
    """Return what cannot be read without packages that are not installed, and which those are."""
    return [_needed(package) for package in _NEEDED_FOR if not _has(package)]


def _needed(package: str) -> str:
    name, purpose = _NEEDED_FOR[package]
    return (
        f"{purpose} need the package {package}, of the extra sweep[{name}]: "
        f"pip install 'sweep-backbones[{name}]'"
    )


def decoders() -> list[str]:
    """Return the installed packages that decode compressed DICOM pixels."""
    return [name for name in ("gdcm", "pylibjpeg", "openjpeg", "libjpeg", "jpeg_ls") if _has(name)]


def _has(name: str) -> bool:
    return find_spec(name) is not None
