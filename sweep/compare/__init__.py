"""The comparison: results by cell, intervals, tables."""

from sweep.compare.results import CellResult, read_cells
from sweep.compare.tables import FORMATS, compared, render
from sweep.errors import SweepError, nearest
from sweep.home import SweepFolder
from sweep.space import METRICS


def compare_sweeps(
    folders: list[SweepFolder], metric: str | None, style: str, width: int | None = None
) -> tuple[str, list[str]]:
    """Return the comparison of sweeps as text in one of FORMATS, and what to know about it.

    Raises SweepError for an unknown metric or format, or if nothing was confirmed yet.
    """
    metric = metric or folders[0].space().objective
    for value, allowed, option in ((metric, METRICS, "metric"), (style, FORMATS, "format")):
        if value not in allowed:
            raise SweepError(
                f"unknown {option} {value!r}; allowed: {', '.join(allowed)}"
                f"{nearest(value, allowed)}"
            )
    cells = [cell for folder in folders for cell in read_cells(folder)]
    if not any(cell.confirmations for cell in cells):
        names = ", ".join(folder.name for folder in folders)
        raise SweepError(f"nothing to compare yet: no cell of {names} is confirmed")
    notes = [_unfinished(folder) for folder in folders if not folder.is_finished()]
    return render(compared(cells, metric), metric, style, width), [*notes, *_unlike_tests(cells)]


def _unfinished(folder: SweepFolder) -> str:
    return f"{folder.name} is not finished; its cells without seeds are missing or provisional"


def _unlike_tests(cells: list[CellResult]) -> list[str]:
    """Name the datasets that sweeps tested on different samples or pixels of."""
    tests: dict[str, set[str]] = {}
    for cell in cells:
        if cell.confirmations:
            samples = {str(record.facts.get("test_samples")) for record in cell.confirmations}
            tests.setdefault(cell.dataset, set()).add(" ".join(sorted(samples)))
    return [
        f"the sweeps tested {dataset} on different samples: do not compare their scores"
        for dataset, found in tests.items()
        if len(found) > 1
    ]
