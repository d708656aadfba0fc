"""How many CPUs and how much of a GPU a wave gets, and whether a cell fits any node at all.

A GPU is shared by what was measured: before a cell's first wave has reported its peak memory
its share is estimated from the sizes of its model. Without GPUs, a wave gets threads.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sweep.errors import SweepError, listing
from sweep.space.model import Cell

MARGIN = 1.25  # factor on a measured peak, for other batches and kernels and for fragmentation
CONTEXT_MIB = 600  # memory of a GPU that the CUDA context of a process occupies
_MOST_ON_A_GPU = 8  # more processes gain nothing and compete for the CPUs
_BYTES = 4  # size of a float32
_STATES = 3  # gradient and Adam's two moments of each trainable parameter
# Parameters of a model up to which this many waves share a GPU.
_FIRST_GUESS = ((30e6, 4), (100e6, 2))


@dataclass(frozen=True)
class Node:
    """What a node of the cluster has.

    Attributes:
        gpu_memory_mib: of the smallest of its GPUs; 0 if it has none.
        memory_mib: that Ray may give to waves.
        accelerator: Ray's resource for the type of its GPUs, as ``accelerator_type:A100``.
        weights: names of the files of weights there, with the hashes of their contents.
    """

    id: str
    host: str
    cpus: float
    gpus: float = 0.0
    gpu_memory_mib: float = 0.0
    memory_mib: float = math.inf
    accelerator: str | None = None
    weights: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelSize:
    """Numbers in a cell's network, and those of them that learn."""

    parameters: int
    trainable: int

    @property
    def least_mib(self) -> float:
        """Memory without which not a single image can be trained on: weights and their states."""
        return (self.parameters + _STATES * self.trainable) * _BYTES / 2**20 + CONTEXT_MIB


@dataclass(frozen=True)
class Resources:
    """What Ray reserves for one wave."""

    cpus: float
    gpus: float = 0.0
    accelerator: str | None = None

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} of a GPU" if self.gpus else ""
        kind = f" ({self.accelerator.partition(':')[2]})" if self.accelerator else ""
        return f"{self.cpus:g} CPUs{gpus}{kind}"

    def bundle(self) -> dict[str, float]:
        """Return it as a bundle of a placement group."""
        bundle = {"CPU": self.cpus}
        if self.gpus:
            bundle["GPU"] = self.gpus
        if self.accelerator:
            bundle[self.accelerator] = 0.001
        return bundle


@dataclass
class ResourcePlanner:
    """Shares the nodes of a cluster among the waves of a sweep.

    Args:
        sizes: of each cell's network, by the cell's name.
        most_nodes: as many as an autoscaler may bring it to, if more waves wait than run.

    Raises SweepError, with the numbers, if a cell fits no node.
    """

    nodes: list[Node]
    sizes: dict[str, ModelSize]
    most_nodes: int = 0
    _peaks: dict[str, float] = field(default_factory=dict)
    _at_most: float = math.inf  # limit on concurrent waves, after workers have died

    def __post_init__(self) -> None:
        self._sort(self.nodes)
        if not self._cpu_nodes:
            raise SweepError("no node of the cluster has a CPU for a wave: see 'ray status'")
        self._refuse_what_does_not_fit()
        self._threads = self._share_of_cpus()
        self._at_once = self._count()

    def note_memory(self, cell: str, peak_mib: float) -> None:
        """Take note of the most memory that a wave of the cell, by its name, has used."""
        self._peaks[cell] = max(peak_mib, self._peaks.get(cell, 0.0))
        self._at_once = self._count()

    def run_fewer(self) -> bool:
        """Run half as many waves at once, as processes die; tell whether there were several."""
        if self._at_once < 2:
            return False
        self._at_most = self._at_once // 2
        self._at_once = self._count()
        return True

    def memory_of(self, cell: str) -> str:
        """Say how much memory a wave of a cell has used, and how much there is."""
        peak = self._peaks.get(cell)
        used = (
            f"a wave of this cell has used {_gib(peak)}" if peak else "its memory is not known yet"
        )
        if self._gpu_nodes:
            return f"{used} of a GPU"
        least = min(node.memory_mib for node in self._cpu_nodes)
        return used if math.isinf(least) else f"{used}, a node has {_gib(least)} for waves"

    def follow(self, nodes: list[Node]) -> None:
        """Take note of the nodes there are now: some have come, some have gone.

        While none is left that could run a wave, those before count: such are waited for.
        """
        if any(node.gpus if self._gpu_nodes else node.cpus >= 1 for node in nodes):
            self._sort(nodes)
            self._at_once = self._count()

    def resources(self, cell: Cell) -> Resources:
        """Return what the next wave of a cell gets."""
        return self._share_of(cell.name)

    def _share_of(self, cell: str) -> Resources:
        if not self._gpu_nodes:
            return Resources(self._threads)
        if cell not in self._peaks:
            return self._on_gpus(self._guess(cell), self.sizes[cell].least_mib)
        needed = self._peaks[cell] * MARGIN + CONTEXT_MIB
        fitting = self._fitting(needed)
        smallest = min(node.gpu_memory_mib for node in fitting)
        at_once = max(1, math.floor(smallest / needed)) if smallest else 1
        return self._on_gpus(min(at_once, _MOST_ON_A_GPU), needed)

    def at_once(self) -> int:
        """Return how many waves run at once, or would on all nodes there may be."""
        return self._at_once

    def _sort(self, nodes: list[Node]) -> None:
        self._gpu_nodes = [node for node in nodes if node.gpus > 0]
        self._cpu_nodes = [node for node in nodes if node.cpus >= 1]

    def _count(self) -> int:
        if self._gpu_nodes:
            smallest = min(self._share_of(name).gpus for name in self.sizes)
            waves = [math.floor(node.gpus / smallest + 1e-6) for node in self._gpu_nodes]
        else:
            waves = [self._waves_on(node) for node in self._cpu_nodes]
        to_come = max(0, self.most_nodes - len(waves))
        return int(max(1, min(sum(waves) + to_come * min(waves), self._at_most)))

    def _waves_on(self, node: Node) -> int:
        """Return how many waves a node without GPUs has CPUs and, as measured, memory for."""
        waves = math.floor(node.cpus / self._threads)
        largest = max(self._peaks.values(), default=0.0) * MARGIN
        if not largest or math.isinf(node.memory_mib):
            return waves
        return max(1, min(waves, math.floor(node.memory_mib / largest)))

    def _share_of_cpus(self) -> float:
        """Share CPUs: as many waves at once as there are CPUs and cells for.

        On few cores one thread a wave is faster than several. It stays when nodes come and go:
        a worker keeps the CPUs that it was started with.
        """
        total = sum(math.floor(node.cpus) for node in self._cpu_nodes)
        at_once = max(1, min(len(self.sizes), total))
        largest = min(math.floor(node.cpus) for node in self._cpu_nodes)
        return float(max(1, min(total // at_once, largest)))

    def _guess(self, cell: str) -> int:
        size = self.sizes[cell].parameters
        return next((count for limit, count in _FIRST_GUESS if size <= limit), 1)

    def _on_gpus(self, at_once: int, needed_mib: float) -> Resources:
        """Give a wave one of `at_once` parts of a GPU, of a type that is large enough."""
        fitting = self._fitting(needed_mib)
        cpus = min(math.floor(node.cpus / (node.gpus * at_once)) for node in fitting)
        accelerator = None
        if len(fitting) < len(self._gpu_nodes):
            kinds = {node.accelerator for node in fitting}
            others = {node.accelerator for node in self._gpu_nodes if node not in fitting}
            # A bundle can require one GPU type; it must differ from those that are too small.
            accelerator = next((kind for kind in sorted(kinds - others, key=str) if kind), None)
        return Resources(float(max(1, cpus)), math.floor(1e4 / at_once) / 1e4, accelerator)

    def _fitting(self, needed_mib: float) -> list[Node]:
        """Return the nodes with GPUs that large; those with the largest if there are none.

        There a network that was measured on them runs with smaller batches.
        """
        known = [node for node in self._gpu_nodes if node.gpu_memory_mib]
        fitting = [node for node in known if node.gpu_memory_mib >= needed_mib]
        if fitting or not known:
            return fitting or self._gpu_nodes
        largest = max(node.gpu_memory_mib for node in known)
        return [node for node in known if node.gpu_memory_mib == largest]

    def _refuse_what_does_not_fit(self) -> None:
        if self._gpu_nodes:
            room, what = max(n.gpu_memory_mib or math.inf for n in self._gpu_nodes), "GPU"
        else:
            room, what = max(node.memory_mib for node in self._cpu_nodes), "node's memory"
        lines = [
            f"{name}: needs at least {_gib(size.least_mib)} ({size.parameters / 1e6:.0f} million "
            f"parameters, {size.trainable / 1e6:.0f} million of them trainable)"
            for name, size in self.sizes.items()
            if size.least_mib > room
        ]
        if lines:
            raise SweepError(
                f"cells that fit no node, {len(lines)} of {len(self.sizes)}: the largest {what} "
                f"has {_gib(room)}\n"
                f"{listing(lines)}\nFreeze more of them, leave them out with --only, or add a "
                "larger node."
            )


def describe_nodes(nodes: Iterable[Node]) -> str:
    """Return what a cluster has, in words."""
    parts = []
    for node in nodes:
        gpus = f", {node.gpus:g} GPUs of {_gib(node.gpu_memory_mib)}" if node.gpus else ""
        parts.append(f"{node.host} ({node.cpus:g} CPUs{gpus})")
    return ", ".join(parts)


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB"
