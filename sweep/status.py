"""How far sweeps are, from what they left on disk: works beside a running one."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sweep.home import SweepFolder, existing, sweep_names


@dataclass(frozen=True)
class CellStatus:
    """How far one cell is; `best` is its highest validation score so far."""

    cell: str
    trials: int
    of_trials: int
    states: dict[str, int]
    confirmations: int
    of_confirmations: int
    best: float | None


@dataclass(frozen=True)
class SweepStatus:
    """How far a sweep is; `state` is running, finished or interrupted."""

    name: str
    state: str
    created: str
    objective: str
    waiting_for_mlflow: int
    cells: list[CellStatus]


def read_status(folder: SweepFolder) -> SweepStatus:
    """Return how far a sweep is."""
    space, records = folder.space(), folder.records()
    cells = []
    for cell in space.cells():
        own = [record for record in records if record.cell == cell.name]
        states = Counter(record.state for record in own if record.kind == "trial")
        confirmed = sum(record.kind == "confirmation" for record in own)
        values = [r.best["value"] for r in own if r.kind != "cell" and "value" in r.best]
        best = max(values, default=None)
        progress = (states.total(), cell.trials, dict(states), confirmed, space.confirmations)
        cells.append(CellStatus(cell.name, *progress, best))
    state = "finished" if folder.is_finished() else "interrupted"
    state = "running" if folder.is_running() else state
    waiting = sum(1 for _ in (folder.path / "spool").glob("*"))
    created = folder.settings().created
    return SweepStatus(folder.name, state, created, space.objective, waiting, cells)


def as_json(home: Path, name: str | None) -> str:
    """Return the status of one sweep as a JSON object, or of all as a list of them."""
    if name is not None:
        return json.dumps(asdict(read_status(existing(home, name))), indent=1)
    found = [read_status(SweepFolder(home, known)) for known in sweep_names(home)]
    return json.dumps([asdict(status) for status in found], indent=1)


def print_status(home: Path, name: str | None, console: Console) -> None:
    """Print the status of one sweep by cell, or of all by name."""
    if name is not None:
        _print_cells(read_status(existing(home, name)), console)
        return
    found = [read_status(SweepFolder(home, known)) for known in sweep_names(home)]
    if not found:
        console.print(f"no sweep under {home} yet; begin with: sweep launch --space quickstart")
        return
    table = Table()
    for column in ("Sweep", "State", "Launched", "Runs", "Waiting for MLflow"):
        table.add_column(column)
    for status in found:
        waiting = str(status.waiting_for_mlflow or "")
        table.add_row(status.name, status.state, status.created, _runs(status), waiting)
    console.print(table)


def _runs(status: SweepStatus) -> str:
    done = sum(cell.trials + cell.confirmations for cell in status.cells)
    return f"{done} of {sum(c.of_trials + c.of_confirmations for c in status.cells)}"


def _print_cells(status: SweepStatus, console: Console) -> None:
    table = Table(title=f"{status.name}: {status.state}, {_runs(status)} runs done")
    for column in ("Cell", "Trials", "States", "Confirmed", f"Best val {status.objective}"):
        table.add_column(column)
    for cell in status.cells:
        table.add_row(
            cell.cell,
            f"{cell.trials}/{cell.of_trials}",
            ", ".join(f"{count} {state}" for state, count in sorted(cell.states.items())),
            f"{cell.confirmations}/{cell.of_confirmations}",
            "" if cell.best is None else f"{cell.best:.4f}",
        )
    console.print(table)
    if status.state == "interrupted":
        console.print(f"go on with: sweep resume {status.name}", highlight=False)
    if status.waiting_for_mlflow and status.state != "running":
        console.print(
            f"{status.waiting_for_mlflow} results wait for MLflow: sweep sync {status.name}",
            highlight=False,
        )
