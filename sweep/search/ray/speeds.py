"""How fast the nodes of a cluster are with the backbones of a sweep: measured there, or assumed."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweep.search.ray.doctor import CheckedNode
from sweep.train.speed import Speed, assumed_speed, measure_speed
from sweep.train.wave import SweepContext

_START_S, _MEASURE_S = 120.0, 60.0  # longer than that for each backbone is not waited


@dataclass(frozen=True)
class Kind:
    """Processors of one kind, which are measured once.

    Attributes:
        name: of the GPU as torch knows it, or the host and its number of CPUs.
        count: GPUs of the kind on all nodes; 1 for the CPUs of a node.
        cpus: of a node, for each of them.
    """

    name: str
    node: CheckedNode
    count: float
    cpus: int

    @property
    def gpu(self) -> str | None:
        """The name of the GPU; None for CPUs."""
        return self.name if self.node.node.gpus else None


@dataclass(frozen=True)
class MeasuredKind:
    """A kind, and the speed of one of its processors with each backbone, by the backbone's name.

    Attributes:
        assumed: why speeds are assumptions, by the backbone's name; those of others are measured.
    """

    kind: Kind
    speeds: dict[str, Speed]
    assumed: dict[str, str]


def kinds_of(nodes: list[CheckedNode]) -> list[Kind]:
    """Return the kinds of processors that waves run on: GPUs if there are any, else CPUs."""
    answered = [item for item in nodes if item.report]
    with_gpus = [item for item in answered if item.node.gpus]
    kinds: dict[str, Kind] = {}
    for item in with_gpus or answered:
        assert item.report is not None
        count = item.node.gpus or 1.0
        cpus = max(1, math.floor(item.node.cpus / count))
        name = f"{cpus} CPUs of {item.node.host} ({item.node.id[:8]})"
        if item.node.gpus:
            name = item.report.gpus[0] if item.report.gpus else "GPUs that torch does not see"
        known = kinds.get(name, Kind(name, item, 0.0, cpus))
        kinds[name] = replace(known, count=known.count + count)
    return list(kinds.values())


def assume(context: SweepContext, kinds: list[Kind], why: str) -> list[MeasuredKind]:
    """Return what kinds of processors sustain by their data sheets."""
    names = [backbone.name for backbone in context.space.backbones]
    return [
        MeasuredKind(kind, dict.fromkeys(names, _assumed(kind)), dict.fromkeys(names, why))
        for kind in kinds
    ]


def measure(
    context: SweepContext, kinds: list[Kind], tell: Callable[[str], None]
) -> list[MeasuredKind]:
    """Measure every backbone on a processor of each kind; kinds at the same time.

    Args:
        tell: called with what has been measured.
    """
    asked: dict[Any, tuple[Kind, str]] = {}
    for kind in kinds:
        for backbone in context.space.backbones:
            task = ray.remote(**_options(kind))(_measure)
            asked[task.remote(context, backbone.name, kind.cpus)] = kind, backbone.name
    end = time.monotonic() + _START_S + _MEASURE_S * len(context.space.backbones)
    found = {kind.name: MeasuredKind(kind, {}, {}) for kind in kinds}
    left = list(asked)
    while left and (seconds := end - time.monotonic()) > 0:
        ready, left = ray.wait(left, timeout=seconds)
        for reference in ready:
            kind, backbone_name = asked[reference]
            _take(found[kind.name], backbone_name, reference)
            tell(f"{backbone_name} on {kind.name}")
    for reference in left:
        ray.cancel(reference, force=True)
        kind, backbone_name = asked[reference]
        _assume(found[kind.name], backbone_name, "it had no time: the processor is in use")
    return list(found.values())


def speed_of_all(kinds: list[MeasuredKind]) -> dict[str, Speed]:
    """Return the speed of all processors together, by the backbone's name."""
    total: dict[str, Speed] = {}
    for item in kinds:
        for name, speed in item.speeds.items():
            own = speed * item.kind.count
            total[name] = total[name] + own if name in total else own
    return total


def _options(kind: Kind) -> dict[str, Any]:
    there = NodeAffinitySchedulingStrategy(node_id=kind.node.node.id, soft=False)
    needs = {"num_gpus": 1, "num_cpus": 0} if kind.gpu else {"num_cpus": kind.cpus}
    # A process of its own for each call gives back its GPU memory, and its number of threads.
    return {**needs, "scheduling_strategy": there, "max_retries": 0, "max_calls": 1}


def _measure(context: SweepContext, backbone_name: str, threads: int) -> Speed:
    (backbone,) = (spec for spec in context.space.backbones if spec.name == backbone_name)
    return measure_speed(context.space, backbone, threads)


def _take(found: MeasuredKind, backbone_name: str, reference: Any) -> None:
    try:
        found.speeds[backbone_name] = ray.get(reference)
    except Exception as error:  # the node died, a GPU has too little memory, a driver fails
        last_line = str(error).strip().splitlines()[-1]
        _assume(found, backbone_name, f"measuring it failed ({last_line[:200]})")


def _assume(found: MeasuredKind, backbone_name: str, why: str) -> None:
    found.speeds[backbone_name] = _assumed(found.kind)
    found.assumed[backbone_name] = why


def _assumed(kind: Kind) -> Speed:
    return assumed_speed(kind.gpu, kind.cpus)
