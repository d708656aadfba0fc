"""The status of sweeps, their logs, and what removing one would lose: for people, and as JSON."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from sweep.base.tables import Column, Line, TableStyle, fit_table
from sweep.cli.views.progress import clock, time_left
from sweep.errors import SweepError, nearest
from sweep.records.folder import SweepFolder
from sweep.records.home import existing
from sweep.records.status import CellStatus, SweepStatus, read_all, read_anyway, read_status

_WATCH_EVERY_S = 2.0
_FAILURES_SHOWN = 10


def as_json(home: Path, name: str | None) -> str:
    """Return the status of one sweep as a JSON object, or of all as a list of them."""
    if name is not None:
        return json.dumps(_plain(read_status(existing(home, name))), indent=1)
    return json.dumps([_plain(status) for status in read_all(home)], indent=1)


def print_status(home: Path, name: str | None, console: Console) -> None:
    """Print the status of one sweep by cell, or of all by name."""
    if name is not None:
        console.print(_one(read_status(existing(home, name)), console.width), highlight=False)
        return
    found = read_all(home)
    if not found:
        console.print(f"no sweep under {home} yet; begin with: sweep launch --space quickstart")
        return
    columns = [
        Column("Sweep", justify="left"),
        Column("State", justify="left"),
        Column("Launched", 4, "left"),
        Column("Cells", 2),
        Column("Runs", 1),
        Column("On disk", 3),
        Column("Waiting for MLflow", 5),
    ]
    console.print(fit_table(columns, [_row(status) for status in found], console.width))
    for line in (line for status in found for line in status.damaged.values()):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def watch(home: Path, name: str, console: Console) -> None:
    """Show the status of a sweep again and again, until nothing runs it any more."""
    folder = existing(home, name)
    status = read_status(folder)
    with Live(_one(status, console.width), console=console, auto_refresh=False) as live:
        while status.state in {"preparing", "running", "stopping"}:
            time.sleep(_WATCH_EVERY_S)
            status = read_status(folder)
            live.update(_one(status, console.width), refresh=True)


def watch_head(show: Callable[[], str]) -> None:
    """Show again and again what a head answers, until nothing runs the sweep any more.

    Args:
        show: prints the status and returns it.
    """
    while re.search(": (preparing|running|stopping), ", show()):
        time.sleep(_WATCH_EVERY_S)
        if sys.stdout.isatty():
            sys.stdout.write("\033[2J\033[H")


def print_log(folder: SweepFolder, cell: str | None) -> None:
    """Print the log of a sweep; of one cell the lines about it, and why its runs failed.

    Raises SweepError, with the nearest names, if there is no such cell.
    """
    cells = [item.name for item in folder.space().cells()]
    if cell is not None and cell not in cells:
        raise SweepError(
            f"no cell {cell!r} in the sweep {folder.name}: {', '.join(cells)}{nearest(cell, cells)}"
        )
    for line in _lines(folder):
        if cell is None or f" {cell}: " in line:
            print(line)
    if cell is None:
        return
    for failure in next(c for c in read_status(folder).cells if c.cell == cell).failures:
        print(f"\n{failure.run}: {failure.message}")
        if failure.log and Path(failure.log).is_file():
            print(f"{failure.log}:\n{Path(failure.log).read_text('utf-8').rstrip()}")


def what_is_lost(folder: SweepFolder) -> str:
    """Say what removing a sweep would delete."""
    status = read_anyway(folder)
    unsent = status.waiting_for_mlflow
    note = f"; {unsent} results were not sent to MLflow yet (sweep sync)" if unsent else ""
    return (
        f"{folder.path}: {status.state}, {status.done} of {status.planned} runs with their "
        f"predictions and models, {status.mib_on_disk:.0f} MiB{note}"
    )


def _row(status: SweepStatus) -> Line:
    runs, disk = f"{status.done} of {status.planned}", f"{status.mib_on_disk:.0f} MiB"
    waiting, cells = str(status.waiting_for_mlflow or ""), str(len(status.cells))
    return Line([status.name, _state(status), status.created, cells, runs, disk, waiting])


def _images(preparing: dict[str, Any]) -> str:
    done, total = preparing["done"], preparing["total"]
    return f", {done:,} of {total:,} images" if total else ""


def _state(status: SweepStatus) -> str:
    if about := status.preparing:
        return f"preparing{_images(about)}"
    if not status.damaged:
        return status.state
    files = ", ".join(status.damaged)
    return f"damaged: {files}" if status.state == "damaged" else f"{status.state}; damaged: {files}"


def _plain(status: SweepStatus) -> dict[str, object]:
    return {**asdict(status), "done": status.done, "planned": status.planned}


def _lines(folder: SweepFolder) -> Iterator[str]:
    path = folder.path / "sweep.log"
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            yield from (line.rstrip("\n") for line in file)


def _one(status: SweepStatus, width: int) -> Group:
    title = f"{status.name}: {status.state}, {status.done} of {status.planned} runs done"
    columns = [
        Column("Cell", justify="left"),
        Column("Trials", 1),
        Column("Running", 4),
        Column("Ended", 6),
        Column("Confirmed", 3),
        Column(f"Best val {status.objective}", 2),
        Column("Training", 5),
    ]
    lines = [Line(_cells(cell)) for cell in status.cells]
    table = fit_table(columns, lines, width, TableStyle(title)) if lines else Text(title)
    return Group(table, *(Text(line) for line in _notes(status)))


def _cells(cell: CellStatus) -> list[str]:
    ended = [f"{count} {state}" for state, count in sorted(cell.states.items())]
    if cell.retried:
        ended.append(f"{cell.retried} tried again")
    return [
        cell.cell,
        f"{cell.trials}/{cell.of_trials}",
        str(cell.running or ""),
        ", ".join(ended),
        f"{cell.confirmations}/{cell.of_confirmations}",
        "" if cell.best is None else f"{cell.best:.4f}",
        clock(cell.seconds) if cell.seconds else "",
    ]


def _notes(status: SweepStatus) -> Iterator[str]:
    if pulse := status.pulse:
        used = ", ".join(
            f"{pulse['used'][kind]:g} of {total:g} {kind}s"
            for kind, total in pulse["total"].items()
        )
        count = len(pulse["nodes"])
        speed = f"{pulse['images_a_second']:g} images a second"
        yield (
            f"{pulse['runs_an_hour']:g} runs an hour, {speed}, "
            f"{time_left(pulse['seconds_left'])}; {used} in use on {count} "
            f"node{'s' if count > 1 else ''}; driver: process {pulse['pid']} on {pulse['host']}"
        )
    failures = [(cell.cell, failure) for cell in status.cells for failure in cell.failures]
    for cell_name, failure in failures[:_FAILURES_SHOWN]:
        log = f" (log: {failure.log})" if failure.log else ""
        yield f"failed: {cell_name} {failure.run}: {failure.message}{log}"
    if len(failures) > _FAILURES_SHOWN:
        yield f"... and {len(failures) - _FAILURES_SHOWN} more: sweep logs {status.name} CELL"
    yield from status.damaged.values()
    if about := status.preparing:
        yield f"preparing since {status.created}: {about['what']}{_images(about)}"
    if status.state == "interrupted":
        yield f"go on with: sweep resume {status.name}"
    if failures and status.state != "running":
        yield f"begin what failed anew: sweep resume {status.name} --retry-failed"
    if status.waiting_for_mlflow and status.state != "running":
        yield f"{status.waiting_for_mlflow} results wait for MLflow: sweep sync {status.name}"
