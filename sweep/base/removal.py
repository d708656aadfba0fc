"""Deleting what was written, and nothing else: files of others are left and named."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Left:
    """Something that was not deleted.

    Attributes:
        why: in words.
        failed: it was to be deleted, and could not be.
    """

    path: Path
    why: str
    failed: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


def delete_written(folder: Path, is_own: Callable[[str], bool]) -> list[Left]:
    """Delete the files below a folder that are our own, and the folders that are empty then.

    Links are left as they are, and what is behind them is not looked at. The folder itself stays.

    Args:
        is_own: tells it of a file, or of a folder (its path ends with ``/``), by its path
            relative to `folder`. A folder that is not is not looked into.

    Returns:
        What is left in the folder.
    """
    return list(_delete_below(folder, "", is_own))


def is_temporary(name: str) -> bool:
    """Tell whether a name is that of a file that `atomic.write_atomically` was writing."""
    return re.fullmatch(r"\..+\.[0-9a-z_]{8}", name) is not None


def delete_one(path: Path) -> list[Left]:
    """Delete a file or an empty folder, if it is there; return what is left of it."""
    try:
        if path.is_symlink():
            return [link(path)]
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        return [Left(path, error.strerror or str(error), failed=True)]
    return []


def _delete_below(folder: Path, prefix: str, is_own: Callable[[str], bool]) -> Iterator[Left]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Left(folder, error.strerror or str(error), failed=True)
        return
    for entry in entries:
        path, is_folder = folder / entry.name, entry.is_dir(follow_symlinks=False)
        if entry.is_symlink():
            yield link(path)
        elif not is_own(f"{prefix}{entry.name}{'/' if is_folder else ''}"):
            yield Left(path, "it is not of the sweep")
        elif is_folder:
            left = list(_delete_below(path, f"{prefix}{entry.name}/", is_own))
            yield from left or delete_one(path)
        else:
            yield from delete_one(path)


def link(path: Path) -> Left:
    """Say that a link was left."""
    return Left(path, f"a link, to {path.readlink()}")
