"""Which pre-trained backbone, and how much of it frozen, for our medical images?

`Space`, `load_space`, `Places`, `Listener`, `launch`, `resume`, `results` and `compare` are the
Python API (docs/python.md). They are imported when they are used: some take seconds.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_API = {
    "Interrupted": "sweep.errors",
    "Listener": "sweep.run.listener",
    "Places": "sweep.run.api",
    "Space": "sweep.space.model",
    "SweepError": "sweep.errors",
    "compare": "sweep.run.api",
    "launch": "sweep.run.api",
    "load_space": "sweep.space.file",
    "results": "sweep.run.api",
    "resume": "sweep.run.api",
}
__all__ = list(_API)


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'sweep' has no attribute {name!r}")
    return getattr(import_module(_API[name]), name)
