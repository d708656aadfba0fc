"""What a launch prints at its end: the comparison as a table, and what to know of it."""

from rich.console import Console

from sweep.comparison.caveats import caveats
from sweep.comparison.formats.tables import terminal
from sweep.run.launch import Outcome
from sweep.run.listener import Listener


def print_outcome(outcome: Outcome, listener: Listener) -> None:
    """Print the table to standard output, and all else where notes go."""
    out, comparison = Console(), outcome.comparison
    print(terminal(comparison, out.width if out.is_terminal else None))
    for note in caveats(comparison):
        listener.note(f"Note: {note}")
    if any(row.metrics for row in comparison.rows):
        listener.note(f"to look at: sweep report {comparison.sweeps[0].name}")
    if outcome.unsent:
        listener.note(outcome.unsent)
