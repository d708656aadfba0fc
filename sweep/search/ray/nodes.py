"""The nodes of a cluster: asking each what it has, and whether it finds what a sweep needs."""

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweep.errors import SweepError, listing
from sweep.search.ray.node_check import NodeQuestion, NodeReport, check_node
from sweep.search.ray.resources import Node
from sweep.train.wave import SweepContext

# Label of a node's GPU memory where torch cannot measure it, as for a MIG slice.
GPU_MEMORY_LABEL = "sweep/gpu-memory-mib"
_ACCELERATOR = "accelerator_type:"
_TIMEOUT_S = 120.0

log = logging.getLogger("sweep.search")


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
    answers = ask_all(working, NodeQuestion.of_sweep(context))
    if shared:
        _refuse(working, answers)
    return [with_report(node, answers[node.id]) for node in working]


def working_nodes() -> list[Node]:
    """Return the nodes of the connected cluster that have a CPU for waves."""
    nodes = [_node(entry) for entry in ray.nodes() if entry["Alive"]]
    return [node for node in nodes if node.cpus >= 1]


def ask_all(nodes: list[Node], question: NodeQuestion) -> dict[str, NodeReport | Unanswered]:
    """Ask every node at once; return the answers by the nodes' ids."""
    asked = {node.id: _ask(node, question) for node in nodes}
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
        self._asked: dict[str, tuple[Any, float]] = {}  # running checks and their start times

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
                reference = _ask(node, NodeQuestion.of_sweep(self._context))
                self._asked[node.id] = reference, time.monotonic()
        stayed = [node for node in self.nodes if node.id in there]
        welcomed = [self._accept(there[name]) for name in self._collect_answers()]
        came = [node for node in welcomed if node]
        changed = len(stayed) < len(self.nodes) or bool(came)
        self.nodes = stayed + came
        return changed

    def _collect_answers(self) -> list[str]:
        late = time.monotonic() - _TIMEOUT_S
        return [
            name
            for name, (reference, since) in self._asked.items()
            if ray.wait([reference], timeout=0)[0] or since < late
        ]

    def _accept(self, entry: dict[str, Any]) -> Node | None:
        node = _node(entry)
        answer = _answer(self._asked.pop(node.id)[0])
        problems = _problems(answer, self._reference)
        for problem in problems:
            log.warning("the node %s (%s) gets no waves: %s", node.host, node.id[:8], problem)
        if problems:
            self.unfit.add(node.id)
            return None
        return with_report(node, answer)


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


def with_report(node: Node, answer: NodeReport | Unanswered) -> Node:
    """Return a node with what it said of itself; what its label says of its GPUs comes first."""
    if isinstance(answer, Unanswered):
        return node
    memory = node.gpu_memory_mib or answer.gpu_memory_mib
    return replace(node, gpu_memory_mib=memory, weights=answer.weights)


def _problems(answer: NodeReport | Unanswered, reference: Node) -> list[str]:
    """Return what keeps waves from a node; weights that differ from another node's, too."""
    if isinstance(answer, Unanswered):
        return [answer.why]
    others = [
        f"the weights {name} differ from those on {reference.host}"
        for name, digest in answer.weights.items()
        if reference.weights.get(name, digest) != digest
    ]
    return [*answer.lacks, *others]


def _ask(node: Node, question: NodeQuestion) -> Any:
    there = NodeAffinitySchedulingStrategy(node_id=node.id, soft=False)
    options = {"num_cpus": 0, "scheduling_strategy": there, "max_retries": 1}
    return ray.remote(**options)(check_node).remote(question)


def _answer(reference: Any) -> NodeReport | Unanswered:
    try:
        report: NodeReport = ray.get(reference, timeout=1.0)
        return report
    except ray.exceptions.GetTimeoutError:
        return Unanswered(f"it has not answered in {_TIMEOUT_S:.0f} s")
    except Exception as error:  # the node died, or lacks a module
        last_line = str(error).strip().splitlines()[-1]
        hint = "; install sweep there" if "No module named 'sweep" in str(error) else ""
        return Unanswered(f"it cannot run a task: {last_line[:200]}{hint}")


def _refuse(nodes: list[Node], answers: dict[str, NodeReport | Unanswered]) -> None:
    """Raise SweepError with all that is missing on any node."""
    if lines := by_problem(nodes, problems_of_all(nodes, answers)):
        raise SweepError(
            f"the nodes of the cluster lack what the sweep needs:\n{listing(lines, 30)}"
        )


def problems_of_all(
    nodes: list[Node], answers: dict[str, NodeReport | Unanswered]
) -> dict[str, list[str]]:
    """Return what keeps waves from each node, by its id."""
    if not nodes:
        return {}
    reference = with_report(nodes[0], answers[nodes[0].id])
    return {node.id: _problems(answers[node.id], reference) for node in nodes}


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
