"""The nodes of a cluster: what each has, and whether each finds what a sweep needs.

A path that is right on the head may be missing on one worker: that is told before the first
trial, not by a trial that happens to land there.
"""

import logging
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweep import __version__
from sweep.backbones.families.base import missing_weights, weights_file
from sweep.base.checksums import sha256
from sweep.data.layouts import missing as missing_data
from sweep.errors import SweepError, listing
from sweep.search.ray.resources import Node
from sweep.train.wave import SweepContext

GPU_MEMORY_LABEL = "sweep/gpu-memory-mib"  # of a node, where torch cannot tell: a MIG slice, say
_ACCELERATOR = "accelerator_type:"
_TIMEOUT_S = 120.0
_LEAST_FREE_MIB = 64

log = logging.getLogger("sweep.search")


@dataclass(frozen=True)
class NodeCheck:
    """What a node said of itself.

    Attributes:
        problems: what a sweep needs and does not find there.
        weights: file names of weights, with the hashes of their contents.
        gpu_memory_mib: of the smallest GPU that torch sees.
    """

    problems: list[str]
    weights: dict[str, str]
    gpu_memory_mib: float


@dataclass(frozen=True)
class Unanswered:
    """Stands for the answer of a node that gave none."""

    why: str


def check_nodes(context: SweepContext, shared: bool) -> list[Node]:
    """Return the nodes that can run waves.

    Args:
        shared: the cluster is not this machine alone, so that each node is asked whether it
            finds the data, the weights, the home, a cache, and the same versions.

    Raises:
        SweepError: something is missing on a node; all of it is named.
    """
    working = working_nodes()
    if not working or not (shared or any(node.gpus for node in working)):
        return working
    question = (check_node, context, own_versions()) if shared else (_only_gpus,)
    found = {name: _finding(answer) for name, answer in ask_all(working, *question).items()}
    if shared:
        _refuse(working, found)
    return [_told(node, found[node.id]) for node in working]


def working_nodes() -> list[Node]:
    """Return the nodes of the connected cluster that have a CPU for waves."""
    nodes = [_node(entry) for entry in ray.nodes() if entry["Alive"]]
    return [node for node in nodes if node.cpus >= 1]


def ask_all(nodes: list[Node], question: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Run a function on every node; return by node what it returned, or an Unanswered."""
    asked = {node.id: _ask(node, question, *arguments) for node in nodes}
    if not asked:
        return {}
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=_TIMEOUT_S)
    return {name: _answer(reference) for name, reference in asked.items()}


class NodeWatcher:
    """Follows the nodes of a cluster while a sweep runs on it.

    A node that has come is asked what it has and what it lacks while the sweep goes on, and is
    counted when it has answered. One that lacks something is named in the log, and unfit.

    Attributes:
        nodes: those that can run waves.
        unfit: ids of nodes that waves have to keep away from: to Ray they are like the others.
    """

    def __init__(self, context: SweepContext, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.unfit: set[str] = set()
        self._context, self._reference = context, nodes[0]
        self._asked: dict[str, tuple[Any, float]] = {}  # and when

    @property
    def is_asking(self) -> bool:
        """Tell whether a node has come that has not answered yet."""
        return bool(self._asked)

    def changed(self) -> bool:
        """Look again; tell whether `nodes` has changed."""
        there = {entry["NodeID"]: entry for entry in ray.nodes() if entry["Alive"]}
        self._asked = {name: asked for name, asked in self._asked.items() if name in there}
        self.unfit &= set(there)
        known = {node.id for node in self.nodes} | set(self._asked) | self.unfit
        for node in (_node(entry) for name, entry in there.items() if name not in known):
            if node.cpus >= 1:
                reference = _ask(node, check_node, self._context, own_versions())
                self._asked[node.id] = reference, time.monotonic()
        stayed = [node for node in self.nodes if node.id in there]
        welcomed = [self._welcome(there[name]) for name in self._answered()]
        came = [node for node in welcomed if node]
        changed = len(stayed) < len(self.nodes) or bool(came)
        self.nodes = stayed + came
        return changed

    def _answered(self) -> list[str]:
        late = time.monotonic() - _TIMEOUT_S
        return [
            name
            for name, (reference, since) in self._asked.items()
            if ray.wait([reference], timeout=0)[0] or since < late
        ]

    def _welcome(self, entry: dict[str, Any]) -> Node | None:
        node = _node(entry)
        finding = _finding(_answer(self._asked.pop(node.id)[0]))
        problems = [*finding.problems, *_other_weights(finding, self._reference)]
        for problem in problems:
            log.warning("the node %s (%s) gets no waves: %s", node.host, node.id[:8], problem)
        if problems:
            self.unfit.add(node.id)
            return None
        return _told(node, finding)


def check_node(context: SweepContext, versions: dict[str, str]) -> NodeCheck:
    """Look, on the node where this runs, for everything that a wave needs.

    Args:
        versions: of the driver.
    """
    problems = other_versions(versions)
    problems += [
        text for spec in context.space.datasets if (text := missing_data(spec, context.data_root))
    ]
    weights: dict[str, str] = {}
    for backbone in context.space.backbones:
        if text := missing_weights(backbone, context.weights_dir):
            problems.append(f"backbone {backbone.name}: {text}")
        elif file := weights_file(backbone, context.weights_dir):
            weights[file.name] = sha256(file)
    if context.owner != context.folder.owner().get("since"):
        problems.append(not_shared(context.folder.home))
    else:
        problems += unwritable(context.folder.path, "--home")
    problems += unwritable(context.node_cache(), "$SWEEP_CACHE")
    return NodeCheck(problems, weights, _gpu_memory_mib())


def other_versions(versions: dict[str, str]) -> list[str]:
    """Return what is not installed here as it is on the driver."""
    return [
        f"{name} {own_versions()[name]} there, {wanted} on the driver: install the same"
        for name, wanted in versions.items()
        if own_versions()[name] != wanted
    ]


def not_shared(home: Path) -> str:
    """Say that a node has another home than the driver."""
    return (
        f"--home {home} is not the folder that the driver has there: it must be on storage that "
        "all nodes share"
    )


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


def own_versions() -> dict[str, str]:
    """Return the versions that have to be the same on all nodes."""
    return {"sweep": __version__, "Python": platform.python_version(), "Ray": ray.__version__}


def _node(entry: dict[str, Any]) -> Node:
    resources, labels = entry["Resources"], entry.get("Labels") or {}
    kinds = [name for name in resources if name.startswith(_ACCELERATOR)]
    return Node(
        id=entry["NodeID"],
        host=entry["NodeManagerHostname"],
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        gpu_memory_mib=float(labels.get(GPU_MEMORY_LABEL, 0.0)),
        memory_mib=resources.get("memory", 0.0) / 2**20,
        accelerator=kinds[0] if len(kinds) == 1 else None,
    )


def _told(node: Node, finding: NodeCheck) -> Node:
    memory = node.gpu_memory_mib or finding.gpu_memory_mib
    return replace(node, gpu_memory_mib=memory, weights=finding.weights)


def _other_weights(finding: NodeCheck, reference: Node) -> list[str]:
    return [
        f"the weights {name} differ from those on {reference.host}"
        for name, digest in finding.weights.items()
        if reference.weights.get(name, digest) != digest
    ]


def _ask(node: Node, question: Callable[..., Any], *arguments: Any) -> Any:
    there = NodeAffinitySchedulingStrategy(node_id=node.id, soft=False)
    options = {"num_cpus": 0, "scheduling_strategy": there, "max_retries": 1}
    return ray.remote(**options)(question).remote(*arguments)


def _only_gpus() -> NodeCheck:
    return NodeCheck([], {}, _gpu_memory_mib())


def _gpu_memory_mib() -> float:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(count)]
    return min(sizes, default=0) / 2**20


def _answer(reference: Any) -> Any:
    try:
        return ray.get(reference, timeout=1.0)
    except ray.exceptions.GetTimeoutError:
        return Unanswered(f"it has not answered in {_TIMEOUT_S:.0f} s")
    except Exception as error:  # a node that died, a module that is not there
        last_line = str(error).strip().splitlines()[-1]
        hint = "; install sweep there" if "No module named 'sweep" in str(error) else ""
        return Unanswered(f"it cannot run a task: {last_line[:200]}{hint}")


def _finding(answer: NodeCheck | Unanswered) -> NodeCheck:
    return NodeCheck([answer.why], {}, 0.0) if isinstance(answer, Unanswered) else answer


def _refuse(nodes: list[Node], found: dict[str, NodeCheck]) -> None:
    """Raise with what is missing on any node; weights that differ from the first node's too."""
    lacks = {}
    reference = replace(nodes[0], weights=found[nodes[0].id].weights)
    for node in nodes:
        finding = found[node.id]
        lacks[node.id] = [*finding.problems, *_other_weights(finding, reference)]
    if told := by_problem(nodes, lacks):
        raise SweepError(
            f"the nodes of the cluster lack what the sweep needs:\n{listing(told, 30)}"
        )


def by_problem(nodes: list[Node], lacks: dict[str, list[str]]) -> list[str]:
    """Return a line for each problem, with the nodes that have it.

    Args:
        lacks: the problems of each node, by its id.
    """
    where: dict[str, list[str]] = {}
    for node in nodes:
        for problem in lacks[node.id]:
            where.setdefault(problem, []).append(f"{node.host} ({node.id[:8]})")
    return [
        f"on {'every node' if len(hosts) == len(nodes) > 1 else ', '.join(hosts)}: {problem}"
        for problem, hosts in where.items()
    ]
