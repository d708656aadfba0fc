"""Which files a sweep writes into its folder, by their names."""

import re
from collections.abc import Iterator
from pathlib import Path

from sweep.base.removal import is_temporary

# A launch writes these files before the sweep exists, besides `launch.json`.
PREPARING = "preparing.json"
_OF_A_REFUSED_LAUNCH = frozenset({"lock", "owner.json", "stop", "sweep.log", PREPARING})
# A sweep writes these files; their names are hashes of run keys.
_OWN_FILES = re.compile(
    r"""space\.yaml|finished|answer\.md|owner\.json|stop|sweep\.log|pulse\.json|preparing\.json|sync\.(lock|owner)|inputs\.bin
    |imports/[A-Za-z_]\w*\.py
    |ledger\.journal(\.lock.*)?|ledger\.db(-wal|-shm|-journal)?
    |runs/H\.json|spool/H|alive/H(\.beat)?|(predictions|validation|subgroups)/H\.parquet|(kept|checkpoints)/H\.pt
    |models/H/model\.(safetensors|json)|logs/H\.log|damaged/[a-z]+-\d+-.*""".replace(
        "H", "[0-9a-f]{20}"
    ),
    re.VERBOSE,
)
_FOLDERS_OF_RUNS = (
    "runs", "spool", "alive", "predictions", "validation", "subgroups", "kept", "checkpoints",
)  # fmt: skip
_OWN_FOLDERS = re.compile(
    rf"({'|'.join(_FOLDERS_OF_RUNS)}|models(/[0-9a-f]{{20}})?|logs|damaged|imports|tune\.[0-9a-z]+(/.*)?)/"
)


def is_of_a_refused_launch(name: str) -> bool:
    """Tell whether a launch that was refused, or died, leaves a file of such a name."""
    return _written(name) in _OF_A_REFUSED_LAUNCH


def is_of_a_sweep(path: str) -> bool:
    """Tell whether a sweep writes a file or folder (with ``/`` at its end) of such a name."""
    if path.endswith("/"):
        return _OWN_FOLDERS.fullmatch(path) is not None
    folder, slash, name = path.rpartition("/")
    if path.startswith("tune.") and _OWN_FOLDERS.fullmatch(f"{folder}/"):
        return True
    written = f"{folder}{slash}{_written(name)}"
    return _OWN_FILES.fullmatch(written) is not None or (written == "launch.json" != path)


def temporaries_of_a_sweep(folder: Path) -> Iterator[Path]:
    """Yield what a process that died, or lost its disk, was writing into a sweep's folder."""
    places = [folder, *(folder / name for name in _FOLDERS_OF_RUNS), *folder.glob("models/*")]
    for place in places:
        for path in () if place.is_symlink() else place.glob(".*"):
            name = path.relative_to(folder).as_posix()
            if is_temporary(path.name) and is_of_a_sweep(name) and not path.is_symlink():
                yield path


def _written(name: str) -> str:
    """Return the name of a file; of a temporary one, that of the file it was to become."""
    return name[1:].rpartition(".")[0] if is_temporary(name) else name
