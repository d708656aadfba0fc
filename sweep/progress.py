"""What is done, what runs, the best so far and the time left: a live table, or plain lines."""

import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from sweep.data.building import Progress
from sweep.fitting import Column, Line, fitted
from sweep.space import Cell

_LINE_EVERY_S = 10.0
_LINES_BESIDE_ROWS = 8  # head and foot of the table, the counts, a summary of up to three lines


@dataclass
class CellProgress:
    """How far a cell is, for those who watch.

    Attributes:
        beyond: trials beyond an edge of the ranges, on top of the cell's budget.
    """

    cell: Cell
    beyond: int = 0
    trials: Counter[str] = field(default_factory=Counter)
    confirmations: Counter[str] = field(default_factory=Counter)
    running: int = 0
    best: float = -math.inf
    seconds: float = 0.0
    epochs: int = 0
    images: int = 0  # that went through a network, as far as this driver has heard
    retried: int = 0  # waves that were tried again
    given_up: bool = False

    @property
    def name(self) -> str:
        """The cell's name."""
        return self.cell.name

    @property
    def trials_done(self) -> int:
        """Trials that have ended, in whatever state."""
        return self.trials.total()

    @property
    def trials_total(self) -> int:
        """Trials that the cell has in all, as far as that is known."""
        return self.cell.trials + self.beyond

    @property
    def seeds(self) -> int:
        """Confirmations that the cell has in all."""
        return self.cell.confirmations

    @property
    def confirmed(self) -> int:
        """Confirmations that have ended."""
        return self.confirmations.total()

    @property
    def is_finished(self) -> bool:
        """Whether all of its trials and confirmations have ended."""
        return self.trials_done + self.confirmed >= self.trials_total + self.seeds

    @property
    def lost(self) -> str:
        """What became of trials that did not end well, in brackets."""
        parts = [f"{self.trials[state]} {state}" for state in ("diverged", "failed")]
        named = [part for part in parts if not part.startswith("0 ")]
        return f" ({', '.join(named)})" if named else ""


class Pace:
    """How fast a sweep goes, and how long it may still take; from when it was made on."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._before: tuple[int, float] | None = None  # runs done and seconds spent, back then
        self._cells: list[CellProgress] = []

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._started

    def note(self, cells: list[CellProgress]) -> None:
        """Take note of how far the cells are."""
        self._cells = list(cells)
        if self._before is None:
            self._before = _done(cells), sum(cell.seconds for cell in cells)

    def runs_an_hour(self) -> float:
        """Return how many trials and confirmations have ended in an hour, so far."""
        before = self._before[0] if self._before else 0
        return round((_done(self._cells) - before) * 3600 / max(1e-9, self.elapsed), 1)

    def seconds_left(self) -> float | None:
        """Estimate from what a run of the same cell, or of any cell, has cost so far.

        None as long as nothing has ended since the start.
        """
        done, spent = _done(self._cells), sum(cell.seconds for cell in self._cells)
        done_before, spent_before = self._before or (0, 0.0)
        if done == done_before or not spent:
            return None
        left = 0.0
        for cell in self._cells:
            own = cell.trials_done + cell.confirmed
            mean = cell.seconds / own if own else spent / done
            if not cell.given_up:
                left += mean * max(0, cell.trials_total + cell.seeds - own)
        busy = max(1, sum(bool(cell.running) for cell in self._cells))
        at_once = min(max(1.0, (spent - spent_before) / max(1e-9, self.elapsed)), busy)
        return left / at_once


class Display:
    """Shows the progress of a sweep as long as it is entered.

    Args:
        objective: name of the metric that is best.
    """

    def __init__(self, objective: str, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)
        self._objective = objective
        self._pace = Pace()
        self._cells: list[CellProgress] = []
        self._begun = False
        self._ended = threading.Event()
        self._lines = threading.Thread(target=self._print_lines, name="progress", daemon=True)
        self._live = Live(
            get_renderable=self._screen, console=self._console, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        else:
            self._lines.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_live:
            self._live.stop()
            return
        self._ended.set()
        self._lines.join()
        if self._cells:
            self._print_summary()

    @property
    def _is_live(self) -> bool:
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def watch(self, cells: list[CellProgress]) -> None:
        """Take note of how far the cells are."""
        self._cells = list(cells)
        self._pace.note(cells)

    def _print_lines(self) -> None:
        """Print a line every ten seconds, also while nothing changes."""
        while not self._ended.wait(_LINE_EVERY_S if self._begun else 0.5):
            if self._cells:
                self._begun = True
                self._print_summary()

    def _print_summary(self) -> None:
        self._console.print(self._summary(), highlight=False, markup=False, soft_wrap=True)

    def _summary(self) -> str:
        total = sum(cell.trials_total + cell.seeds for cell in self._cells)
        running = sum(cell.running for cell in self._cells)
        leaders = [cell for cell in self._cells if math.isfinite(cell.best)]
        best = max(leaders, key=lambda cell: cell.best, default=None)
        leader = f", best val/{self._objective} {best.best:.4f} ({best.name})" if best else ""
        return (
            f"{clock(self._pace.elapsed)}  {_done(self._cells)} of {total} runs done, "
            f"{running} running{leader}, {time_left(self._pace.seconds_left())}"
        )

    def _screen(self) -> Group:
        """Return what fits the terminal: the summary always, then what runs or has failed."""
        if not self._cells:
            return Group(Text("starting"))
        shown = [cell for cell in self._cells if cell.running or cell.trials["failed"]]
        shown.sort(key=lambda cell: not cell.running)
        room = max(1, self._console.height - _LINES_BESIDE_ROWS)
        columns = [
            Column("Cell", justify="left"),
            Column("Trials", 1),
            Column("Running", 4),
            Column("Confirmed", 3),
            Column(f"Best val {self._objective}", 2),
            Column("Training", 5),
        ]
        width = self._console.width
        parts: list[RenderableType] = []
        if shown:
            parts.append(fitted(columns, [_line(cell) for cell in shown[:room]], width))
        parts.append(Text(self._others(shown[:room])))
        return Group(*parts, Text(self._summary()))

    def _others(self, shown: list[CellProgress]) -> str:
        """Count the cells that are not in the table."""
        finished = sum(cell.is_finished for cell in self._cells)
        running = sum(bool(cell.running) for cell in self._cells if cell not in shown)
        waiting = sum(not (cell.is_finished or cell.running) for cell in self._cells)
        counts = {"running": running, "finished": finished, "waiting": waiting}
        told = [f"{count} {what}" for what, count in counts.items() if count]
        return f"Cells: {len(shown)} shown, {', '.join(told)}" if told else ""


def _line(cell: CellProgress) -> Line:
    values = [
        cell.name,
        f"{cell.trials_done}/{cell.trials_total}{cell.lost}",
        str(cell.running or ""),
        f"{cell.confirmed}/{cell.seeds}",
        f"{cell.best:.4f}" if math.isfinite(cell.best) else "",
        clock(cell.seconds) if cell.seconds else "",
    ]
    return Line(values, "green" if cell.is_finished else "")


@contextmanager
def decoding_bars(console: Console | None = None) -> Iterator[Callable[[str], Progress]]:
    """Show a bar for each set of images that is being decoded, in a terminal.

    Yields what makes, for a title, the function that is called with (done, all).
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:

        def begin(title: str) -> Progress:
            task = bars.add_task(f"decoding {title}", total=None, visible=False)
            return lambda done, total: bars.update(task, completed=done, total=total, visible=True)

        yield begin


def time_left(seconds: float | None) -> str:
    """Say an estimate of the time left."""
    return "time left not known yet" if seconds is None else f"about {clock(seconds)} left"


def _done(cells: list[CellProgress]) -> int:
    return sum(cell.trials_done + cell.confirmed for cell in cells)


def clock(seconds: float) -> str:
    """Write seconds as minutes and seconds, or as hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
