"""The pulse of a sweep: what its driver writes down every few seconds, for whoever watches.

A file in the sweep's folder for `sweep status`, and Ray's metrics for Prometheus.
"""

import json
import logging
import os
import socket
import threading
import time
from collections import Counter as Counts
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import ray
from ray.util.metrics import Gauge

from sweep.base.atomic import write_text
from sweep.records.folder import SweepFolder
from sweep.records.progress import CellProgress, Heartbeat, Pace

_EVERY_S = 2.0

log = logging.getLogger("sweep.search")


class HeartbeatWriter:
    """Writes a beat every two seconds, from a thread of its own, as long as it is entered.

    Args:
        progress: gives how far the cells are.
    """

    def __init__(self, folder: SweepFolder, progress: Callable[[], list[CellProgress]]) -> None:
        self._folder, self._progress = folder, progress
        self._pace = Pace()
        self._images: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._gauges = _Gauges(folder.name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            try:
                self.beat()
            except Exception as error:  # a missed heartbeat affects only the display
                log.warning("the pulse has missed a beat: %s", error)
            if self._stop.wait(_EVERY_S):
                return

    def beat(self) -> None:
        """Write down how it is now."""
        cells = self._progress()
        self._pace.note(cells)
        total, free = ray.cluster_resources(), ray.available_resources()
        kinds = [kind for kind in ("CPU", "GPU") if total.get(kind)]
        beat = Heartbeat(
            at=time.time(),
            host=socket.gethostname(),
            pid=os.getpid(),
            running={cell.name: cell.running for cell in cells if cell.running},
            retried={cell.name: cell.retried for cell in cells if cell.retried},
            nodes=[_about(node) for node in ray.nodes() if node["Alive"]],
            used={kind: round(total[kind] - free.get(kind, 0.0), 3) for kind in kinds},
            total={kind: total[kind] for kind in kinds},
            images_a_second=self._images_a_second(sum(cell.images for cell in cells)),
            runs_an_hour=self._pace.runs_an_hour(),
            seconds_left=self._pace.seconds_left(),
        )
        write_text(self._folder.path / "pulse.json", json.dumps(asdict(beat)))
        self._gauges.show(cells, beat)

    def _images_a_second(self, images: int) -> float:
        now = time.monotonic()
        self._images = [item for item in self._images if now - item[0] < 60]
        self._images.append((now, images))
        (first, before), (last, count) = self._images[0], self._images[-1]
        return round((count - before) / (last - first), 1) if last > first else 0.0


@dataclass
class _Gauges:
    """The same as metrics of Ray; docs/monitoring.md names them."""

    sweep: str
    _by_name: dict[str, Any] = field(default_factory=dict)

    def show(self, cells: list[CellProgress], beat: Heartbeat) -> None:
        states: Counts[str] = Counts()
        for cell in cells:
            states.update(cell.trials)
        for state in ("complete", "pruned", "diverged", "failed"):
            self._set("sweep_trials", "Trials that ended.", states[state], state=state)
        confirmed = sum(cell.confirmed for cell in cells)
        self._set("sweep_confirmations", "Confirmations that ended.", confirmed)
        runs = sum(cell.trials_total + cell.seeds for cell in cells)
        self._set("sweep_runs_total", "Trials and confirmations of the whole sweep.", runs)
        self._set("sweep_running", "Trials and confirmations that run.", sum(beat.running.values()))
        retried = sum(beat.retried.values())
        self._set("sweep_retries", "Times that a wave was tried again.", retried)
        speed = beat.images_a_second
        self._set("sweep_images_per_second", "Images through networks, last minute.", speed)
        for kind, used in beat.used.items():
            self._set("sweep_resources_used", "CPUs and GPUs that waves have.", used, kind=kind)

    def _set(self, name: str, description: str, value: float, **tags: str) -> None:
        if name not in self._by_name:
            keys = ("sweep", *tags)
            self._by_name[name] = Gauge(name, description=description, tag_keys=keys)
        self._by_name[name].set(value, tags={"sweep": self.sweep, **tags})


def _about(node: dict[str, Any]) -> dict[str, Any]:
    resources = node["Resources"]
    return {
        "host": node["NodeManagerHostname"],
        "cpus": resources.get("CPU", 0.0),
        "gpus": resources.get("GPU", 0.0),
    }
