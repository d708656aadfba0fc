"""What ends a sweep from outside: a full disk, a disk or a cluster that is gone; in words."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

_FULL = ("No space left on device", "disk is full", "Disk quota exceeded")
_LEAST_FREE_BYTES = 8 << 20
_GONE = {errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.EROFS, errno.EHOSTDOWN, errno.ETIMEDOUT}
_OF_RAY = ("ray.", "grpc.")
_RAY_TEXTS = ("GCS", "raylet", "Ray Client", "ray client", "Ray cluster")


def loss_of(error: BaseException, begun: bool, folders: Iterable[Path]) -> str | None:
    """Say which loss an error tells of; None if it tells of none.

    Args:
        begun: the search has begun: then any OSError is such a loss.
        folders: on whose disks a sweep writes, besides the temporary folder.
    """
    chain = list(_chain(error))
    # Ray and SQLite keep the error's text but lose its number.
    if without_room := [item for item in chain if any(sign in str(item) for sign in _FULL)]:
        names = [item.filename for item in without_room if isinstance(item, OSError)]
        full = _full_folders(folders) or [str(Path(name).parent) for name in names if name]
        where = f"in {' and '.join(full)}" if full else "on the device"
        return f"no space left {where}: free some"
    if not begun:
        return None
    for item in chain:
        text = " ".join(str(item).split())[:300]
        if isinstance(item, OSError) and item.errno in _GONE:
            return f"{item.filename or 'a disk'} cannot be used any more ({item.strerror})"
        if isinstance(item, ConnectionError) or _is_of_ray(item):
            return f"Ray was lost: {text or type(item).__name__}"
        if isinstance(item, OSError):
            return f"{item.strerror or text}{f': {item.filename}' if item.filename else ''}"
    return None


def temporary_folder() -> Path:
    """Return where this process and Ray put temporary files, also if nothing can be written there.

    `tempfile` would name another folder then.
    """
    names = (os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR"))
    return Path(next(filter(None, names), "/tmp"))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    item: BaseException | None = error
    while item is not None and id(item) not in seen:
        seen.add(id(item))
        yield item
        item = item.__cause__ or item.__context__


def _full_folders(folders: Iterable[Path]) -> list[str]:
    found = []
    for folder in [*folders, temporary_folder()]:
        there = next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))
        status = os.statvfs(there)
        no_files_left = status.f_files and not status.f_favail
        if shutil.disk_usage(there).free < _LEAST_FREE_BYTES or no_files_left:
            found.append(str(folder))
    return list(dict.fromkeys(found))


def _is_of_ray(error: BaseException) -> bool:
    module = type(error).__module__ + "."
    if module.startswith(_OF_RAY) and "TaskError" not in type(error).__name__:
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _RAY_TEXTS)
