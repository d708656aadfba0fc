"""What quality costs: parameters, time, memory; the Pareto front; the cheapest good cell."""

from dataclasses import dataclass

import numpy as np

from sweep.compare.comparison import SIGNIFICANT, Comparison, Row, holm
from sweep.compare.estimates import not_worse
from sweep.compare.results import CellResult
from sweep.compare.wording import interval, title


@dataclass(frozen=True)
class Cost:
    """What one cell cost; None where it was not recorded.

    Attributes:
        parameters, learnable: of the network, and those of them that were trained.
        search_s: seconds of all trials on `device`.
        training_s: seconds of one confirmation, the mean over them.
        memory_mib: most that one process of a confirmation held, of the GPU if there is one.
        images_per_s: through the forward pass of the confirmed model.
    """

    parameters: int | None
    learnable: int | None
    search_s: float
    training_s: float | None
    memory_mib: float | None
    images_per_s: float | None
    device: str

    @property
    def total_s(self) -> float:
        """Seconds of the search and one training: what choosing this cell costs."""
        return self.search_s + (self.training_s or 0.0)


def cost(cell: CellResult) -> Cost:
    """Return what a cell cost."""
    confirmed = cell.confirmations
    training = [record.seconds for record in confirmed]
    speeds = [
        float(record.facts["images_per_second"])
        for record in confirmed
        if "images_per_second" in record.facts
    ]
    memory = [float(record.facts.get("peak_memory_mib", np.nan)) for record in confirmed]
    threads = cell.fact("threads")
    device = str(cell.fact("device", "unknown device"))
    return Cost(
        cell.fact("parameters"),
        cell.fact("learnable"),
        max(0.0, cell.seconds - sum(training)),
        float(np.mean(training)) if training else None,
        float(np.nanmax(memory)) if memory and not np.isnan(memory).all() else None,
        float(np.median(speeds)) if speeds else None,
        device if cell.fact("accelerator", "cpu") != "cpu" else f"{device}, threads: {threads}",
    )


def pareto(comparison: Comparison, dataset: str) -> list[Row]:
    """Return the cells of a dataset that no other beats in both cost and quality."""
    choices, front = comparison.choices, []
    best = -np.inf
    by_cost = sorted(
        comparison.datasets[dataset],
        key=lambda r: (cost(r.cell).total_s, -choices.sign * r.estimates[choices.metric].point),
    )
    for row in by_cost:
        value = choices.sign * row.estimates[choices.metric].point
        if value > best:
            best = value
            front.append(row)
    return front


def cheapest_good(comparison: Comparison, dataset: str) -> Row | None:
    """Return the cheapest cell shown to be not worse than the best by the margin or more.

    One-sided p-values of non-inferiority, adjusted by Holm among the dataset's cells.
    """
    rows = comparison.paired[dataset]
    if not rows or np.isnan(rows[0].metrics[comparison.choices.metric].mean):
        return None
    best, others = rows[0], rows[1:]
    choices = comparison.choices
    values = []
    for row in others:
        # Of the AUROC of two classes by DeLong, as all its differences are.
        first, second = (row, best) if choices.sign > 0 else (best, row)
        values.append(not_worse(comparison.difference(first, second), choices.margin))
    good = [
        best,
        *(r for r, p in zip(others, holm(values), strict=True) if p < SIGNIFICANT),
    ]
    return min(good, key=lambda row: cost(row.cell).total_s)


def cheapest_sentence(comparison: Comparison, dataset: str) -> str | None:
    """Say which cell is the cheapest that is good enough; None for a dataset without scores."""
    row = cheapest_good(comparison, dataset)
    if row is None or len(comparison.paired[dataset]) < 2:
        return None
    best, choices = comparison.paired[dataset][0], comparison.choices
    margin = f"{choices.margin:g} {title(choices.metric)}"
    if row is best:
        return (
            f"{dataset}: no cheaper cell than the best, {best.label}, is shown to be within "
            f"{margin} of it."
        )
    times = cost(best.cell).total_s / max(cost(row.cell).total_s, 1e-9)
    return (
        f"{dataset}: the cheapest cell not worse than the best by {margin} or more is {row.label}, "
        f"{interval(row.metrics[choices.metric])}, at 1/{times:.1f} of the best's time."
    )


def unlike_devices(comparison: Comparison) -> str | None:
    """Return a warning where times are of different machines."""
    devices = {cost(row.cell).device for rows in comparison.datasets.values() for row in rows}
    if len(devices) < 2:
        return None
    return (
        f"times are of different devices, so compare them with care: {', '.join(sorted(devices))}"
    )
