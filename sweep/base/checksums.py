"""Checksums of a folder of weights: written where they are pulled, checked where they are used."""

import hashlib
from pathlib import Path

from sweep.base.atomic import write_text
from sweep.errors import BackboneError

FILE = "SHA256SUMS"  # `sha256sum --check SHA256SUMS` can read it


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checksums(folder: Path) -> dict[str, str]:
    """Return the checksums that a folder was pulled with, by file name.

    Raises BackboneError if their file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        pairs = [line.split(maxsplit=1) for line in path.read_text("utf-8").splitlines() if line]
        return {name.removeprefix("*"): digest for digest, name in pairs}
    except ValueError:
        raise BackboneError(f"{path} is damaged: copy it again, or delete it") from None


def add(path: Path) -> None:
    """Write down the checksum of a file beside it."""
    sums = read_checksums(path.parent) | {path.name: sha256(path)}
    lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
    write_text(path.parent / FILE, "".join(lines))


def verify(path: Path) -> None:
    """Raise BackboneError if a file is not what its folder's checksums say.

    A file that they do not name is taken as it is.
    """
    wanted = read_checksums(path.parent).get(path.name)
    if wanted is not None and sha256(path) != wanted:
        raise BackboneError(
            f"{path} is not the file that was pulled: its SHA-256 differs from that in "
            f"{path.parent / FILE}; copy it again"
        )
