"""How far sweeps are, from what they left on disk: works beside a running one."""

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sweep.errors import DamagedError
from sweep.records.folder import SweepFolder
from sweep.records.home import sweep_names
from sweep.records.progress import CellProgress, Heartbeat
from sweep.records.record import RunRecord

_STALE_S = 30.0  # an older heartbeat says nothing about the present


@dataclass(frozen=True)
class Failure:
    """Why a run failed for good, and the file that tells all of it."""

    run: str
    message: str
    log: str | None


@dataclass(frozen=True)
class CellStatus:
    """How far one cell is.

    Attributes:
        states: how many trials ended how.
        running: trials and confirmations under way.
        retried: times that a wave was tried again since the driver started.
        best: its highest validation score so far.
        seconds: spent training.
    """

    cell: str
    trials: int
    of_trials: int
    states: dict[str, int]
    running: int
    retried: int
    confirmations: int
    of_confirmations: int
    best: float | None
    seconds: float
    failures: list[Failure]

    @classmethod
    def of(cls, progress: CellProgress, failures: list[Failure]) -> "CellStatus":
        """Return what is shown of a cell's progress."""
        return cls(
            cell=progress.name,
            trials=progress.trials_done,
            of_trials=progress.trials_total,
            states=dict(progress.trials),
            running=progress.running,
            retried=progress.retried,
            confirmations=progress.confirmed,
            of_confirmations=progress.seeds,
            best=progress.best if math.isfinite(progress.best) else None,
            seconds=progress.seconds,
            failures=failures,
        )


@dataclass(frozen=True)
class SweepStatus:
    """How far a sweep is.

    Attributes:
        state: preparing, running, stopping, finished, interrupted or damaged.
        damaged: files that cannot be read, each with a message.
        preparing: of a sweep that prepares, what it decodes, and how many images of how many.
        pulse: of a running sweep, what `sweep.records.progress.Heartbeat` holds; else None.
    """

    name: str
    state: str
    created: str
    objective: str
    waiting_for_mlflow: int
    mib_on_disk: float
    cells: list[CellStatus]
    pulse: dict[str, Any] | None
    damaged: dict[str, str] = field(default_factory=dict)
    preparing: dict[str, Any] | None = None

    @property
    def done(self) -> int:
        """Runs that have ended."""
        return sum(cell.trials + cell.confirmations for cell in self.cells)

    @property
    def planned(self) -> int:
        """Runs of the whole sweep."""
        return sum(cell.of_trials + cell.of_confirmations for cell in self.cells)


def read_all(home: Path) -> list[SweepStatus]:
    """Return how far the sweeps under a home are; of one that cannot be read, what is damaged."""
    return [read_anyway(SweepFolder(home, name)) for name in sweep_names(home)]


def read_anyway(folder: SweepFolder) -> SweepStatus:
    """Return how far a sweep is; if it cannot be read, what is damaged."""
    try:
        return read_status(folder)
    except DamagedError as error:
        damaged = {error.path.name: str(error)}
    except OSError as error:
        file = str(error.filename or folder.path)
        damaged = {Path(file).name: f"{file}: {error.strerror or error}"}
    return SweepStatus(folder.name, "damaged", "", "", 0, 0.0, [], None, damaged)


def read_status(folder: SweepFolder) -> SweepStatus:
    """Return how far a sweep is, as far as its records can be read.

    Raises DamagedError if its space or how it was launched cannot.
    """
    preparing = folder.preparing()
    if preparing is not None and not folder.exists():
        since = str(folder.owner().get("since", ""))
        return SweepStatus(
            folder.name, "preparing", since, "", 0, 0.0, [], None, preparing=preparing
        )
    space = folder.space()
    by_cell: dict[str, list[RunRecord]] = {cell.name: [] for cell in space.cells()}
    records, damaged = folder.readable_records()
    for record in records:
        by_cell.setdefault(record.cell, []).append(record)
    running = folder.is_running()
    pulse = _pulse(folder) if running else None
    cells = []
    for cell in space.cells():
        progress = CellProgress.of_records(cell, by_cell[cell.name])
        if pulse is not None:
            progress.running = pulse.running.get(cell.name, 0)
            progress.retried = pulse.retried.get(cell.name, 0)
        failed = [r for r in by_cell[cell.name] if r.kind != "cell" and r.state == "failed"]
        cells.append(CellStatus.of(progress, [_failure(folder, record) for record in failed]))
    return SweepStatus(
        name=folder.name,
        state="preparing" if preparing else _state(folder, running),
        created=folder.settings().created,
        objective=space.objective,
        waiting_for_mlflow=sum(1 for _ in (folder.path / "spool").glob("*")),
        mib_on_disk=round(folder.bytes_on_disk() / 2**20, 1),
        cells=cells,
        pulse=asdict(pulse) if pulse else None,
        damaged={error.path.name: str(error) for error in damaged},
        preparing=preparing,
    )


def _state(folder: SweepFolder, running: bool) -> str:
    if running:
        return "stopping" if folder.is_asked_to_stop() else "running"
    return "finished" if folder.is_finished() else "interrupted"


def _failure(folder: SweepFolder, record: RunRecord) -> Failure:
    log = str(folder.path / "logs" / record.log) if record.log else None
    message = (record.error or "").partition(" (all of it: ")[0]
    return Failure(f"{record.kind} {record.number}", message, log)


def _pulse(folder: SweepFolder) -> Heartbeat | None:
    try:
        beat = Heartbeat(**json.loads((folder.path / "pulse.json").read_text("utf-8")))
        return beat if time.time() - beat.at < _STALE_S else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
