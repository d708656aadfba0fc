"""Where what can be computed again is kept."""

import os
from pathlib import Path


def default_cache() -> Path:
    """Return ``$SWEEP_CACHE``, else ``~/.cache/sweep``: safe to delete, shared by all sweeps."""
    return Path(os.environ.get("SWEEP_CACHE") or "~/.cache/sweep").expanduser()
