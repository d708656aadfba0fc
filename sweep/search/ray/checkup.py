"""What the nodes of a cluster have, and what they lack for any sweep at all.

`nodes.survey` asks what one sweep needs, before it begins; this asks what there is.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import timm
import torch

from sweep.search.ray.nodes import (
    Unanswered,
    ask_all,
    by_problem,
    not_shared,
    other_versions,
    own_versions,
    unwritable,
    working_nodes,
)
from sweep.search.ray.resources import Node
from sweep.train.wave import node_cache


@dataclass(frozen=True)
class Places:
    """Where a sweep that is launched now would look and write; absolute paths."""

    data_root: Path
    weights_dir: Path | None
    home: Path
    cache: Path


@dataclass(frozen=True)
class NodeReport:
    """What a node said of itself.

    Attributes:
        memory_mib: of the machine.
        gpus: the name of each GPU that torch sees, with its memory.
        free_mib: on the disks of home and cache.
    """

    versions: dict[str, str]
    memory_mib: float
    gpus: list[str]
    free_mib: dict[str, float]
    lacks: list[str]


@dataclass(frozen=True)
class CheckedNode:
    """A node, what it said, or that it did not answer, and all that it lacks."""

    node: Node
    checkup: NodeReport | None
    lacks: list[str]


def check_nodes(places: Places, mark: str) -> list[CheckedNode]:
    """Ask every node of the connected cluster; see `check_here`."""
    nodes = working_nodes()
    answers = ask_all(nodes, check_here, places, mark, own_versions())
    return [_checked(node, answers[node.id]) for node in nodes]


def lacking(checked: list[CheckedNode]) -> list[str]:
    """Return a line for each problem, with the nodes that have it."""
    if not checked:
        return ["no node of the cluster has a CPU for waves: see 'ray status'"]
    return by_problem([item.node for item in checked], {c.node.id: c.lacks for c in checked})


def check_here(places: Places, mark: str, versions: dict[str, str]) -> NodeReport:
    """Look at the machine where this runs.

    Args:
        mark: name of a file in the driver's home; see `marked`.
        versions: of the driver.
    """
    lacks, cache = other_versions(versions), node_cache(places.cache)
    folders = (("--data-root", places.data_root), ("--weights-dir", places.weights_dir))
    lacks += [
        f"{name} {folder}: there is no such folder"
        for name, folder in folders
        if folder and not folder.is_dir()
    ]
    if (places.home / mark).exists():
        lacks += unwritable(places.home, "--home")
    else:
        lacks.append(not_shared(places.home))
    lacks += unwritable(cache, "$SWEEP_CACHE")
    return NodeReport(
        {**own_versions(), "torch": torch.__version__, "timm": timm.__version__},
        psutil.virtual_memory().total / 2**20,
        _gpus(),
        {name: _free(folder) for name, folder in (("home", places.home), ("cache", cache))},
        lacks,
    )


def _checked(node: Node, answer: NodeReport | Unanswered) -> CheckedNode:
    if isinstance(answer, Unanswered):
        return CheckedNode(node, None, [answer.why])
    lacks = list(answer.lacks)
    if node.gpus and not answer.gpus:
        lacks.append(
            f"Ray counts {node.gpus:g} GPUs, and torch {answer.versions['torch']} sees none: it is "
            "built for CPUs, or does not fit the driver of the GPUs"
        )
    return CheckedNode(node, answer, lacks)


def _gpus() -> list[str]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [torch.cuda.get_device_properties(place) for place in range(count)]
    return [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in found]


def _free(folder: Path) -> float:
    there = next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))
    return shutil.disk_usage(there).free / 2**20


@contextmanager
def marked(home: Path) -> Iterator[str]:
    """Put a file into the home, by which nodes know it; yield its name, and leave nothing behind.

    Raises OSError if nothing can be written there.
    """
    made = [folder for folder in (home, *home.parents) if not folder.exists()]
    home.mkdir(parents=True, exist_ok=True)
    mark = home / f".doctor-{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark.name
    finally:
        mark.unlink(missing_ok=True)
        with suppress(OSError):  # somebody else uses it by now
            for folder in made:
                folder.rmdir()
