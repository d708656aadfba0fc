"""What the nodes of a cluster have and lack, for any sweep or one: `sweep doctor`, `--dry-run`."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sweep.search.ray.node_check import HomeMark, NodeQuestion, NodeReport, Places, own_versions
from sweep.search.ray.nodes import (
    Unanswered,
    ask_all,
    by_problem,
    problems_of_all,
    with_report,
    working_nodes,
)
from sweep.search.ray.resources import Node
from sweep.train.wave import SweepContext


@dataclass(frozen=True)
class CheckedNode:
    """A node, what it said, or that it did not answer, and all that it lacks."""

    node: Node
    report: NodeReport | None
    lacks: list[str]


def check_cluster(
    places: Places, mark: HomeMark, sweep: SweepContext | None = None
) -> list[CheckedNode]:
    """Ask every node of the connected cluster.

    Args:
        sweep: that is to run there: nodes are asked for its data sets and weights, too.
    """
    nodes = working_nodes()
    answers = ask_all(nodes, NodeQuestion(places, mark, own_versions(), sweep))
    problems = problems_of_all(nodes, answers)
    return [_check(node, answers[node.id], problems[node.id]) for node in nodes]


def lacking(checked: list[CheckedNode]) -> list[str]:
    """Return a line for each problem, with the nodes that have it."""
    if not checked:
        return ["no node of the cluster has a CPU for waves: see 'ray status'"]
    return by_problem([item.node for item in checked], {c.node.id: c.lacks for c in checked})


def _check(node: Node, answer: NodeReport | Unanswered, problems: list[str]) -> CheckedNode:
    if isinstance(answer, Unanswered):
        return CheckedNode(node, None, problems)
    lacks = list(problems)
    if node.gpus and not answer.gpus:
        lacks.append(
            f"Ray counts {node.gpus:g} GPUs, and torch {answer.versions['torch']} sees none: it is "
            "built for CPUs, or does not fit the driver of the GPUs"
        )
    return CheckedNode(with_report(node, answer), answer, lacks)


@contextmanager
def marked(home: Path) -> Iterator[HomeMark]:
    """Put a file into the home, by which nodes know it; leave nothing behind.

    Raises OSError if nothing can be written there.
    """
    made = [folder for folder in (home, *home.parents) if not folder.exists()]
    home.mkdir(parents=True, exist_ok=True)
    mark = home / f".doctor-{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield HomeMark(mark)
    finally:
        mark.unlink(missing_ok=True)
        with suppress(OSError):  # another process is using the folder
            for folder in made:
                folder.rmdir()
