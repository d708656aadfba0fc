"""Which files a sweep writes into its folder, by their names."""

import re

from sweep.removal import is_temporary

# What a launch writes into its folder before the sweep exists, in `launch.json`.
PREPARING = "preparing.json"
_OF_A_REFUSED_LAUNCH = frozenset({"lock", "owner.json", "stop", "sweep.log", PREPARING})
# What a sweep writes, apart from launch.json: names are hashes of runs' keys.
_OWN_FILES = re.compile(
    r"""space\.yaml|finished|owner\.json|stop|sweep\.log|pulse\.json|preparing\.json|sync\.(lock|owner)|inputs\.bin
    |ledger\.db(-wal|-shm|-journal)?
    |runs/H\.json|spool/H|alive/H(\.beat)?|(predictions|validation)/H\.parquet|(kept|checkpoints)/H\.pt
    |models/H/model\.(safetensors|json)|logs/H\.log|damaged/[a-z]+-\d+-.*""".replace(
        "H", "[0-9a-f]{20}"
    ),
    re.VERBOSE,
)
_OWN_FOLDERS = re.compile(
    r"(runs|spool|alive|predictions|validation|kept|checkpoints|models(/[0-9a-f]{20})?|logs|damaged"
    r"|tune\.[0-9a-z]+(/.*)?)/"
)


def is_of_a_refused_launch(name: str) -> bool:
    """Tell whether a launch that was refused, or died, leaves a file of such a name."""
    written = name[1:].rpartition(".")[0] if is_temporary(name) else name
    return written in _OF_A_REFUSED_LAUNCH


def is_of_a_sweep(path: str) -> bool:
    """Tell whether a sweep writes a file or folder (with ``/`` at its end) of such a name."""
    if path.endswith("/"):
        return _OWN_FOLDERS.fullmatch(path) is not None
    folder, _, name = path.rpartition("/")
    if path.startswith("tune.") and _OWN_FOLDERS.fullmatch(f"{folder}/"):
        return True
    known = not folder or _OWN_FOLDERS.fullmatch(f"{folder}/")
    return _OWN_FILES.fullmatch(path) is not None or bool(known and is_temporary(name))
