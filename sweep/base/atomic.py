"""Files that are either whole or absent, whenever the process dies."""

import glob
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object], mode: int = 0o666) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    Raises whatever `write` raises; `path` is then as it was before. A device or a pipe
    (``/dev/stdout``) is written to as it is: it must not become a file.

    Args:
        mode: permissions, of which the process's umask takes its part away.
    """
    if path.exists() and not path.is_file():
        write(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path, write, mode) as temporary:
        temporary.replace(path)


def write_new(path: Path, write: Callable[[Path], object]) -> None:
    """Do as `write_atomically`, but leave a file as it is that another process has made first."""
    with _temporary(path, write) as temporary, suppress(FileExistsError):
        try:
            path.hardlink_to(temporary)
        except PermissionError:  # this file system has no links
            if not path.exists():
                temporary.replace(path)
        temporary.unlink(missing_ok=True)


def delete_temporaries(path: Path) -> None:
    """Delete what processes that died were writing in place of `path`.

    For those who hold a lock on it: nobody else is writing it now.
    """
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}"):
        temporary.unlink(missing_ok=True)


@contextmanager
def _temporary(path: Path, write: Callable[[Path], object], mode: int = 0o666) -> Iterator[Path]:
    """Write a file beside `path`, on disk when it is yielded; it is not left behind."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write `text` as UTF-8 to `path`, atomically; see `write_atomically`."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"), mode)
