"""What a node of a cluster has, and what it lacks: the part that runs on the node itself.

A path that is right on the head may be missing on one worker: that is told before the first
trial, not by a trial that happens to land there.
"""

import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray
import timm
import torch

from sweep import __version__
from sweep.backbones.families.base import missing_weights, weights_file
from sweep.base.checksums import sha256
from sweep.data.layouts import missing as missing_data
from sweep.train.wave import SweepContext, node_cache

_LEAST_FREE_MIB = 64


@dataclass(frozen=True)
class Places:
    """Where a sweep looks and writes, on every node alike; absolute paths."""

    data_root: Path
    weights_dir: Path | None
    home: Path
    cache: Path


@dataclass(frozen=True)
class HomeMark:
    """A file that the driver has written into its home, by which a node knows that home.

    Attributes:
        text: a part of what the file holds.
    """

    path: Path
    text: str = ""

    def is_here(self) -> bool:
        """Tell whether the home where this runs is the driver's."""
        try:
            return self.text in self.path.read_text("utf-8")
        except OSError:
            return False


@dataclass(frozen=True)
class NodeQuestion:
    """What a node is asked.

    Attributes:
        versions: of the driver.
        sweep: whose data and weights the node must have; None to look for folders alone.
    """

    places: Places
    mark: HomeMark
    versions: dict[str, str]
    sweep: SweepContext | None = None

    @classmethod
    def of_sweep(cls, context: SweepContext) -> "NodeQuestion":
        """Return what a sweep asks of a node that is to run its waves."""
        places = Places(context.data_root, context.weights_dir, context.folder.home, context.cache)
        mark = HomeMark(context.folder.path / "owner.json", context.owner)
        return cls(places, mark, own_versions(), context)


@dataclass(frozen=True)
class NodeReport:
    """What a node says of itself.

    Attributes:
        memory_mib: of the machine.
        gpus: the name of each GPU that torch sees, with its memory.
        gpu_memory_mib: of the smallest GPU that torch sees.
        free_mib: on the disks of home and cache.
        lacks: what it needs and has not.
        weights: file names of the sweep's weights, with the hashes of their contents.
    """

    versions: dict[str, str]
    memory_mib: float
    gpus: list[str]
    gpu_memory_mib: float
    free_mib: dict[str, float]
    lacks: list[str]
    weights: dict[str, str]


def check_node(question: NodeQuestion) -> NodeReport:
    """Look, on the machine where this runs, at what it has and lacks."""
    places = question.places
    cache, lacks = node_cache(places.cache), _other_versions(question.versions)
    weights: dict[str, str] = {}
    if question.sweep is None:
        lacks += _missing_folders(places)
    else:
        lacks += _missing_inputs(question.sweep)
        weights = _weights(question.sweep)
    if question.mark.is_here():
        lacks += unwritable(question.mark.path.parent, "--home")
    else:
        lacks.append(
            f"--home {places.home} is not the folder that the driver has there: it must be on "
            "storage that all nodes share"
        )
    lacks += unwritable(cache, "$SWEEP_CACHE")
    free = {name: _free(folder) for name, folder in (("home", places.home), ("cache", cache))}
    versions = {**own_versions(), "torch": torch.__version__, "timm": timm.__version__}
    memory = psutil.virtual_memory().total / 2**20
    return NodeReport(versions, memory, *_gpus(), free, lacks, weights)


def own_versions() -> dict[str, str]:
    """Return the versions that have to be the same on all nodes."""
    return {"sweep": __version__, "Python": platform.python_version(), "Ray": ray.__version__}


def unwritable(folder: Path, what: str) -> list[str]:
    """Return why nothing can be written to a folder, or nothing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free / 2**20
        if free < _LEAST_FREE_MIB:
            return [f"{what} {folder}: the disk is full ({free:.0f} MiB are free)"]
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))
    except OSError as error:
        return [f"{what} {folder} cannot be written to: {error.strerror or error}"]
    return []


def _other_versions(versions: dict[str, str]) -> list[str]:
    own = own_versions()
    return [
        f"{name} {own[name]} there, {wanted} on the driver: install the same"
        for name, wanted in versions.items()
        if own[name] != wanted
    ]


def _missing_folders(places: Places) -> list[str]:
    folders = (("--data-root", places.data_root), ("--weights-dir", places.weights_dir))
    return [
        f"{name} {folder}: there is no such folder"
        for name, folder in folders
        if folder and not folder.is_dir()
    ]


def _missing_inputs(context: SweepContext) -> list[str]:
    data = (missing_data(spec, context.data_root) for spec in context.space.all_datasets())
    weights = (
        (spec.name, missing_weights(spec, context.weights_dir)) for spec in context.space.backbones
    )
    return [
        *(text for text in data if text),
        *(f"backbone {name}: {text}" for name, text in weights if text),
    ]


def _weights(context: SweepContext) -> dict[str, str]:
    files = (weights_file(spec, context.weights_dir) for spec in context.space.backbones)
    return {file.name: sha256(file) for file in files if file}


def _gpus() -> tuple[list[str], float]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [torch.cuda.get_device_properties(place) for place in range(count)]
    names = [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in found]
    return names, min((gpu.total_memory for gpu in found), default=0) / 2**20


def _free(folder: Path) -> float:
    there = next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))
    return shutil.disk_usage(there).free / 2**20
