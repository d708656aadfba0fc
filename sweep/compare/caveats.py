"""What to know before trusting a number of a comparison."""

from sweep.compare.budgets import rates_at_an_edge, searched_less
from sweep.compare.comparison import Comparison
from sweep.compare.costs import unlike_devices


def caveats(comparison: Comparison) -> list[str]:
    """Return warnings: of test splits and seeds, of search budgets and ranges, of devices."""
    notes = [*comparison.notes, *searched_less(comparison), *rates_at_an_edge(comparison.sweeps)]
    if text := unlike_devices(comparison):
        notes.append(text)
    return notes
