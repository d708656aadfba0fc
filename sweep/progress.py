"""What is done, what runs, the best so far and the time left: a live table, or plain lines."""

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from sweep.data.building import Progress
from sweep.space import Cell

_LINE_EVERY_S = 10.0


@dataclass
class CellProgress:
    """How far a cell is, for those who watch."""

    cell: Cell
    seeds: int
    trials: Counter[str] = field(default_factory=Counter)
    confirmations: Counter[str] = field(default_factory=Counter)
    running: int = 0
    best: float = -math.inf
    seconds: float = 0.0
    epochs: int = 0

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
        """Trials that the cell has in all."""
        return self.cell.trials

    @property
    def confirmed(self) -> int:
        """Confirmations that have ended."""
        return self.confirmations.total()

    @property
    def lost(self) -> str:
        """What became of trials that did not end well, in brackets."""
        parts = [f"{self.trials[state]} {state}" for state in ("diverged", "failed")]
        named = [part for part in parts if not part.startswith("0 ")]
        return f" ({', '.join(named)})" if named else ""


class Display:
    """Shows the progress of a sweep as long as it is entered.

    Args:
        objective: name of the metric that is best.
    """

    def __init__(self, objective: str, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)
        self._objective = objective
        self._started = time.monotonic()
        self._done_before: int | None = None
        self._cells: list[CellProgress] = []
        self._last_line = -math.inf
        self._live = Live(
            get_renderable=self._screen, console=self._console, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()
        elif self._cells:
            self._console.print(self._summary(), highlight=False, soft_wrap=True)

    def watch(self, cells: list[CellProgress]) -> None:
        """Take note of how far the cells are."""
        self._cells = list(cells)
        if self._done_before is None:
            self._done_before = self._done()
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            self._console.print(self._summary(), highlight=False, soft_wrap=True)

    def _done(self) -> int:
        return sum(cell.trials_done + cell.confirmed for cell in self._cells)

    def _summary(self) -> str:
        total = sum(cell.trials_total + cell.seeds for cell in self._cells)
        running = sum(cell.running for cell in self._cells)
        leaders = [cell for cell in self._cells if math.isfinite(cell.best)]
        best = max(leaders, key=lambda cell: cell.best, default=None)
        leader = f", best val/{self._objective} {best.best:.4f} ({best.name})" if best else ""
        elapsed = _clock(time.monotonic() - self._started)
        return (
            f"{elapsed}  {self._done()} of {total} runs done, {running} running{leader}, "
            f"{self._time_left()}"
        )

    def _time_left(self) -> str:
        """Estimate from what a run of the same cell, or of any cell, has cost so far."""
        elapsed = time.monotonic() - self._started
        done = sum(cell.trials_done + cell.confirmed for cell in self._cells)
        spent = sum(cell.seconds for cell in self._cells)
        if not done or not spent or done == self._done_before:
            return "time left not known yet"
        left = 0.0
        for cell in self._cells:
            own = cell.trials_done + cell.confirmed
            mean = cell.seconds / own if own else spent / done
            left += mean * max(0, cell.trials_total + cell.seeds - own)
        at_once = min(max(1.0, spent / elapsed), max(1, sum(bool(c.running) for c in self._cells)))
        return f"about {_clock(left / at_once)} left"

    def _screen(self) -> Group:
        return Group(self._table(), Text(self._summary() if self._cells else "starting"))

    def _table(self) -> Table:
        table = Table()
        table.add_column("Cell", overflow="fold")
        for name in ("Trials", "Running", "Confirmed", f"Best val {self._objective}", "Training"):
            table.add_column(name, justify="right")
        # Cells under way first, so that the screen shows them however many there are.
        room = max(5, self._console.height - 8)
        shown = sorted(self._cells, key=lambda cell: not cell.running)[:room]
        order = {id(cell): place for place, cell in enumerate(self._cells)}
        for cell in sorted(shown, key=lambda cell: order[id(cell)]):
            finished = cell.trials_done + cell.confirmed >= cell.trials_total + cell.seeds
            table.add_row(
                cell.name,
                f"{cell.trials_done}/{cell.trials_total}{cell.lost}",
                str(cell.running or ""),
                f"{cell.confirmed}/{cell.seeds}",
                f"{cell.best:.4f}" if math.isfinite(cell.best) else "",
                _clock(cell.seconds) if cell.seconds else "",
                style="green" if finished else "",
            )
        return table


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


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
