"""What to know before trusting a number of a comparison."""

from sweep.compare.budgets import rates_at_an_edge, searched_less
from sweep.compare.comparison import Comparison
from sweep.compare.costs import unlike_devices


def caveats(comparison: Comparison) -> list[str]:
    """Return warnings: of test splits and seeds, of search budgets and ranges, of devices."""
    notes = [*comparison.notes, *searched_less(comparison), *rates_at_an_edge(comparison.sweeps)]
    if text := unlike_devices(comparison):
        notes.append(text)
    return notes + _out_of_reach(comparison)


def _out_of_reach(comparison: Comparison) -> list[str]:
    """Tell where no difference could be significant: too many pairs for the resamples."""
    least = 1 / comparison.choices.resamples
    return [
        f"{dataset}: with {len(pairs)} pairs and {comparison.choices.resamples} resamples no "
        f"difference can be significant; use --resamples {20 * len(pairs) + 1}"
        for dataset, pairs in comparison.pairs.items()
        if pairs and least * len(pairs) > 0.05 and not comparison.by_delong(dataset)
    ]
