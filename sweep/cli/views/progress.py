"""What a terminal shows of a launch: a live table, or plain lines in a file or a pipe."""

import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from sweep.base.tables import Column, Line, fit_table
from sweep.records.progress import CellProgress, Pace, runs_done
from sweep.remote.request import BEGUN
from sweep.run.listener import Decoding, Listener

_LINE_EVERY_S = 10.0
# Header and footer of the table, the counts, and a summary of up to three lines.
_LINES_BESIDE_ROWS = 8


class TerminalListener(Listener):
    """Shows a launch on a console, standard error by default."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)

    def note(self, text: str) -> None:
        """Print a sentence."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def decoding(self) -> AbstractContextManager[Callable[[str], Decoding]]:
        """Show a bar for each set of images that is being decoded, in a terminal."""
        return decoding_bars(self._console)

    def begin(self, tracking_uri: str) -> None:
        """Say where runs go; a detached launch waits for it. A terminal shows the table."""
        if not self._console.is_terminal:
            self.note(f"{BEGUN}; runs go to MLflow at {tracking_uri}")

    @contextmanager
    def searching(self, objective: str) -> Iterator[Callable[[list[CellProgress]], None]]:
        """Show how far the cells are."""
        with Display(objective, self._console) as display:
            yield display.watch


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
            f"{clock(self._pace.elapsed)}  {runs_done(self._cells)} of {total} runs done, "
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
            parts.append(fit_table(columns, [_line(cell) for cell in shown[:room]], width))
        parts.append(Text(self._others(shown[:room])))
        return Group(*parts, Text(self._summary()))

    def _others(self, shown: list[CellProgress]) -> str:
        """Count the cells that are not in the table."""
        finished = sum(cell.is_finished for cell in self._cells)
        running = sum(bool(cell.running) for cell in self._cells if cell not in shown)
        waiting = sum(not (cell.is_finished or cell.running) for cell in self._cells)
        counts = {"running": running, "finished": finished, "waiting": waiting}
        hidden = [f"{count} {what}" for what, count in counts.items() if count]
        return f"Cells: {len(shown)} shown, {', '.join(hidden)}" if hidden else ""


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
def decoding_bars(console: Console | None = None) -> Iterator[Callable[[str], Decoding]]:
    """Show a bar for each set of images that is being decoded; see `progress_bars`."""
    with progress_bars(console) as begin:
        yield lambda title: begin(f"decoding {title}")


@contextmanager
def progress_bars(console: Console | None = None) -> Iterator[Callable[[str], Decoding]]:
    """Show a bar for each thing that is under way, in a terminal.

    Yields what makes, for a title, the function that is called with (done, all).
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield lambda title: lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, TimeRemainingColumn(), console=console, transient=True) as bars:

        def begin(title: str) -> Decoding:
            task = bars.add_task(title, total=None, visible=False)
            return lambda done, total: bars.update(task, completed=done, total=total, visible=True)

        yield begin


def time_left(seconds: float | None) -> str:
    """Say an estimate of the time left."""
    return "time left not known yet" if seconds is None else f"about {clock(seconds)} left"


def clock(seconds: float) -> str:
    """Write seconds as minutes and seconds, or as hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
