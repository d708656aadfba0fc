"""Was the search fair and wide enough? Expected scores at equal budget, rates at an edge."""

from collections import defaultdict

import numpy as np
from scipy.special import gammaln

from sweep.comparison.comparison import Comparison, Row
from sweep.comparison.text import join_names
from sweep.records.record import RunRecord
from sweep.records.results import CellResult, SweepResults
from sweep.space.domains import Range, end_of, extend_range, in_words
from sweep.train.metrics.base import Floats

_LEAST_COMPLETE = 3
_BOUND = {"lower": "low", "upper": "high"}


def best_values(trials: list[RunRecord]) -> Floats:
    """Return the best validation score of each trial; one that diverged or failed is as the worst.

    Pruned trials count with what they had reached.
    """
    found = [record.best.get("value", np.nan) for record in trials]
    values = np.array(found, dtype=np.float64)
    if np.isnan(values).all():
        return np.array([])
    return np.where(np.isnan(values), np.nanmin(values), values)


def expected_best(values_T: Floats) -> Floats:
    """Return the expected best of n of the T trials, drawn without replacement, n = 1 ... T.

    Dodge et al. (2019), with the unbiased estimator of Tang et al. (2020): the i-th smallest is
    the best of n in C(i-1, n-1) of C(T, n) draws. The trials of a sampler that learns are not
    alike, so the curve is what such trials give in any order.
    """
    ordered_T = np.sort(values_T)
    count = len(ordered_T)
    places_T = np.arange(1.0, count + 1)
    result = np.empty(count)
    for n in range(1, count + 1):
        draws = _log_choose(np.array(float(count)), n)
        chances_T = np.exp(_log_choose(places_T - 1, n - 1) - draws)
        result[n - 1] = ordered_T[n - 1 :] @ chances_T[n - 1 :]
    return result


def at_equal_budget(rows: list[Row]) -> tuple[int, dict[Row, float]]:
    """Return the fewest trials that a cell of a dataset had, and every cell's expected best then.

    Rows without trials are left out.
    """
    values = {row: best_values(row.cell.trials) for row in rows}
    values = {row: found for row, found in values.items() if len(found)}
    fewest = min((len(found) for found in values.values()), default=0)
    return fewest, {row: float(expected_best(v)[fewest - 1]) for row, v in values.items()}


def find_less_searched(comparison: Comparison) -> list[str]:
    """Name the cells that had fewer trials than others of their dataset.

    Those beyond an edge do not count: every cell gets them that needs them.
    """
    planned = {
        (sweep.name, cell.name): cell.trials
        for sweep in comparison.sweeps
        for cell in sweep.space.cells()
    }
    found: dict[str, list[str]] = defaultdict(list)
    for dataset, rows in comparison.datasets.items():
        counts = {
            row.label: min(row.cell.states.total(), planned[row.cell.sweep, row.cell.name])
            for row in rows
        }
        most = max(counts.values(), default=0)
        less = sorted(f"{label} ({count})" for label, count in counts.items() if count < most)
        if less:
            found[f"searched with fewer trials than others ({most}): {join_names(less)}"].append(
                dataset
            )
    return [
        f"{', '.join(datasets)}: {text}. The report shows expected scores at equal budget"
        for text, datasets in found.items()
    ]


def ended_in_time(comparison: Comparison) -> list[str]:
    """Say which trials were left out, so that a sweep was over in the hours that it had."""
    notes = []
    for sweep in comparison.sweeps:
        hours, lacking = sweep.space.budget.hours, dict[str, list[str]]()
        planned = {cell.name: cell.trials for cell in sweep.space.cells()}
        for cell in sweep.cells:
            done, wanted = cell.states.total(), planned[cell.name]
            if done < wanted:
                lacking.setdefault(f"{done} of {wanted} trials", []).append(cell.name)
        if hours is not None and sweep.finished and lacking:
            found = "; ".join(f"{what}: {join_names(names)}" for what, names in lacking.items())
            notes.append(f"{sweep.name}: budget.hours of {hours:g} has ended the search: {found}")
    return notes


def few_complete(comparison: Comparison) -> list[str]:
    """Name the cells of which fewer than three trials were completed."""
    found = [
        f"{row.cell.name} ({row.cell.states['complete']})"
        for row in comparison.rows
        if row.metrics and row.cell.states["complete"] < _LEAST_COMPLETE
    ]
    if not found:
        return []
    return [f"fewer than {_LEAST_COMPLETE} complete trials to choose from: {join_names(found)}"]


def rates_at_an_edge(sweeps: list[SweepResults]) -> list[str]:
    """Name the cells whose choice lies at an end of what was searched: it may be too narrow."""
    notes = []
    for sweep in sweeps:
        found: dict[str, list[str]] = defaultdict(list)
        for cell in sweep.cells:
            for end in _ends(cell, sweep):
                found[end].append(f"{cell.dataset}/{cell.backbone}/{cell.mode}")
        for end, names in found.items():
            notes.append(
                f"{sweep.name}: the chosen {end} of what was searched; a wider range may give "
                f"better models: {join_names(names)}"
            )
    return notes


def _ends(cell: CellResult, sweep: SweepResults) -> list[str]:
    first = cell.first()
    if first is None:
        return []
    ends = []
    for name, searched in sweep.space.domains().items():
        value = _chosen(first, name)
        if value is None or not isinstance(searched, Range):
            continue
        # The search went beyond a range whose best trial lay at its edge.
        whole = Range(
            low=extend_range(searched, "lower").low if value < searched.low else searched.low,
            high=extend_range(searched, "upper").high if value > searched.high else searched.high,
            log=searched.log,
        )
        if end := end_of(whole, value):
            bound = getattr(whole, _BOUND[end])
            ends.append(f"{in_words(name)} is near the {end} end, {bound:g},")
    return ends


def _chosen(record: RunRecord, name: str) -> float | None:
    """Return what was chosen of a hyper-parameter; None if nothing was."""
    if name != "backbone_scale":
        return record.params.get(name)
    of_backbone: float | None = record.params.get("backbone_learning_rate")
    return None if of_backbone is None else of_backbone / record.params["learning_rate"]


def _log_choose(n: Floats, k: int) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
