"""What travels to a cluster: a command of `sweep` for its head to run.

It holds no secret: a job's command line can be read by everyone who sees the dashboard.
"""

import base64
import json
import os
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sweep import __version__
from sweep.base.addresses import has_password
from sweep.errors import SweepError

_PLACES = ("SWEEP_DATA", "SWEEP_WEIGHTS", "SWEEP_CACHE", "MLFLOW_TRACKING_URI")
BEGUN = "all checks passed, the search begins"  # a launch prints this line


def is_remote(address: str | None) -> bool:
    """Tell whether an address is a head's dashboard, to which jobs are submitted."""
    return str(address).startswith(("http://", "https://"))


@dataclass(frozen=True)
class Request:
    """A command for the head of a cluster.

    Attributes:
        arguments: of `sweep`, without ``--address``. ``{space}`` and ``{output}`` stand for
            files that are made there.
        space: the space as JSON, if the command is a launch.
        modules: the texts of the Python files that it imports, by their names.
        environment: for variables that the cluster does not set itself.
        question: where its output comes back as one answer, instead of being followed line by
            line: the name of the question, see `sweep.remote.answers`.
        version: of sweep here.
    """

    arguments: list[str]
    space: str | None = None
    modules: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    question: str | None = None
    version: str = __version__

    def __post_init__(self) -> None:
        for text in (*self.arguments, *self.environment.values(), self.space or ""):
            if has_password(text):
                raise SweepError(
                    "a password in a URL would be shown to everyone who sees the cluster's "
                    "dashboard: leave it out, and set MLFLOW_TRACKING_USERNAME and "
                    "MLFLOW_TRACKING_PASSWORD where the cluster's nodes are started"
                )


def environment_here(home: Path | None) -> dict[str, str]:
    """Return the places this machine names, as paths that are the same on shared storage."""
    places = {name: os.environ[name] for name in _PLACES if os.environ.get(name)}
    for name in ("SWEEP_DATA", "SWEEP_WEIGHTS", "SWEEP_CACHE"):
        if name in places:
            places[name] = str(Path(places[name]).absolute())
    own = home or Path(os.environ.get("SWEEP_HOME") or "sweeps").expanduser()
    places["SWEEP_HOME"] = str(own.absolute())
    return places


def pack(request: Request) -> str:
    """Return a request as one word for a command line."""
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(asdict(request)).encode())).decode()


def unpack(word: str) -> Request:
    """Return the request that `pack` made a word of."""
    return Request(**json.loads(zlib.decompress(base64.urlsafe_b64decode(word))))
