"""The home of sweeps: finding one by its name, and the secret under which ids are hashed."""

import hmac
import secrets
import stat
import uuid
from pathlib import Path

from filelock import FileLock

from sweep.base.atomic import write_text
from sweep.errors import SweepError, nearest
from sweep.records.files import PREPARING
from sweep.records.folder import SweepFolder
from sweep.space.names import check_name


def existing(home: Path, name: str) -> SweepFolder:
    """Return the folder of a sweep that was launched.

    Raises SweepError with the nearest names if there is none.
    """
    found = find(home, name)
    if found is None:
        known = sweep_names(home)
        there = f"there are: {', '.join(known)}" if known else "there is none yet"
        raise SweepError(f"no sweep {name!r} under {home}; {there}{nearest(name, known)}")
    return found


def find(home: Path, name: str) -> SweepFolder | None:
    """Return the folder of a sweep that was launched, or None; a path is no name."""
    try:
        folder = SweepFolder(home, check_name(name))
    except ValueError:
        return None
    return folder if folder.exists() or folder.preparing() else None


def sweep_names(home: Path) -> list[str]:
    """Return the names of the sweeps that were launched under a home, or are being prepared."""
    names = {path.parent.name for path in home.glob("*/launch.json")}
    names |= {
        path.parent.name
        for path in home.glob(f"*/{PREPARING}")
        if SweepFolder(home, path.parent.name).preparing()
    }
    return sorted(names)


def new_id() -> str:
    """Return an identity for a new sweep."""
    return uuid.uuid4().hex[:12]


def hashing_key(home: Path) -> bytes:
    """Return the secret under which sample and group ids are hashed; made at the first use.

    Nobody else can read it, but in a home in which a group may write: there the group.
    """
    path = home.absolute() / ".ids.key"
    with FileLock(_create(path).with_suffix(".lock")):
        if not path.is_file():
            shared = path.parent.stat().st_mode & stat.S_IWGRP
            write_text(path, secrets.token_hex(32), mode=0o660 if shared else 0o600)
    return bytes.fromhex(path.read_text())


def hashed_id(key: bytes, name: str) -> str:
    """Return the keyed hash by which a sample or group is known outside the dataset."""
    return hmac.new(key, name.encode(), "sha256").hexdigest()[:16]


def _create(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
