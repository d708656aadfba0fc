"""Identity of things: a hash of canonical JSON, never a formatted float; the code's commit."""

import hashlib
import json
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any


def canonical_hash(value: Any, length: int = 20) -> str:
    """Return a hexadecimal hash of a JSON value, the same for the same value anywhere.

    Floats are written by their shortest exact form, so that two learning rates
    which differ in the last bit have different identities.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def commit_of(folder: Path, package: str) -> str | None:
    """Return the git commit of a package's code, with a ``+`` if files were changed since.

    None where neither a repository that tracks the folder nor pip knows one.
    """
    try:
        # The folder may lie in another repository, as site-packages often does.
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        return _git(folder, "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        pass
    try:
        origin = json.loads(distribution(package).read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return None
    commit: str | None = origin.get("vcs_info", {}).get("commit_id")
    return commit


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
