"""What quality costs: parameters, work, time, memory; the Pareto front; the cheapest good cell.

Cells are compared by their work in floating-point operations, of the search and one training:
it does not depend on the machine, the day, or what was in a cache. Seconds stand beside it.
"""

from dataclasses import dataclass

import numpy as np

from sweep.comparison.comparison import Comparison, Row
from sweep.comparison.stats.verdict import ALPHA, holm
from sweep.comparison.text import interval, listed_titles, number, title
from sweep.records.record import RunRecord
from sweep.records.results import CellResult


@dataclass(frozen=True)
class Cost:
    """What one cell cost; None where it was not recorded.

    Attributes:
        parameters, trainable: of the network, and those of them that were trained.
        search_flops: floating-point operations of all trials, and of features if it trains on
            them, whether they were in the cache or not.
        training_flops: of one confirmation, the mean over them.
        search_s: seconds of all trials on `device`.
        training_s: seconds of one confirmation, the mean over them.
        memory_mib: most that one process of a confirmation held, of the GPU if there is one.
        images_per_s: through the forward pass of the confirmed model.
        image_flops: of one image through the confirmed model.
    """

    parameters: int | None
    trainable: int | None
    search_flops: float | None
    training_flops: float | None
    search_s: float
    training_s: float | None
    memory_mib: float | None
    images_per_s: float | None
    image_flops: float | None
    device: str

    @property
    def total_s(self) -> float:
        """Seconds of the search and one training: what choosing this cell costs."""
        return self.search_s + (self.training_s or 0.0)

    @property
    def total_flops(self) -> float | None:
        """Work of the search and one training."""
        if self.search_flops is None or self.training_flops is None:
            return None
        return self.search_flops + self.training_flops


def cost(cell: CellResult) -> Cost:
    """Return what a cell cost."""
    confirmed = cell.confirmations
    training = [record.seconds for record in confirmed]
    everything = sum(record.seconds for record in (*confirmed, *cell.earlier))
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
        cell.search_flops,
        _mean_flops(confirmed),
        max(0.0, cell.seconds - everything),
        float(np.mean(training)) if training else None,
        float(np.nanmax(memory)) if memory and not np.isnan(memory).all() else None,
        float(np.median(speeds)) if speeds else None,
        cell.fact("image_flops"),
        device if cell.fact("accelerator", "cpu") != "cpu" else f"{device}, threads: {threads}",
    )


def _mean_flops(records: list[RunRecord]) -> float | None:
    known = [float(record.facts["flops"]) for record in records if "flops" in record.facts]
    return float(np.mean(known)) if known else None


def work(cell: CellResult) -> float:
    """Return what cells are ranked by where the cheaper one is asked for.

    Floating-point operations; seconds where an older version did not count them.
    """
    spent = cost(cell)
    return spent.total_s if spent.total_flops is None else spent.total_flops


def pareto(comparison: Comparison, dataset: str) -> list[Row]:
    """Return the cells of a dataset that no other beats in both cost and quality."""
    choices, front = comparison.choices, []
    best = -np.inf
    by_cost = sorted(
        comparison.datasets[dataset],
        key=lambda r: (work(r.cell), -choices.sign * r.estimates[choices.metric].point),
    )
    for row in by_cost:
        value = choices.sign * row.estimates[choices.metric].point
        if value > best:
            best = value
            front.append(row)
    return front


@dataclass(frozen=True)
class Cheapest:
    """The cheapest cell of a dataset that is as good as the best.

    Attributes:
        row: that cell; the best itself if no cheaper one is shown to be as good.
        but: a cheaper cell that is within the margin and loses in other metrics, and in which.
    """

    best: Row
    row: Row
    but: tuple[Row, tuple[str, ...]] | None


def cheapest_good(comparison: Comparison, dataset: str) -> Cheapest | None:
    """Return the cheapest cell shown to be as good as the best; None without verdicts.

    As good is: not worse by the margin or more (one-sided p-values of non-inferiority, Holm among
    those of the page), the best is not better than it, and it loses in no other metric.
    """
    rows = comparison.paired[dataset]
    if len(rows) < 2 or np.isnan(rows[0].metrics[comparison.choices.metric].mean):
        return None
    if any(pair.verdict.word == "unjudged" for pair in comparison.pairs[dataset]):
        return None
    best, not_worse = rows[0], _not_worse(comparison)
    cheaper = [
        (row, pair.lost_by(row))
        for row in sorted(rows[1:], key=lambda row: work(row.cell))
        if (pair := comparison.pair(best, row)) is not None
        and pair.of(best).word != "better"
        and not_worse[row] < ALPHA
        and work(row.cell) < work(best.cell)
    ]
    good = next((row for row, lost in cheaper if not lost), best)
    but = next(
        ((row, lost) for row, lost in cheaper if lost and work(row.cell) < work(good.cell)), None
    )
    return Cheapest(best, good, but)


def _not_worse(comparison: Comparison) -> dict[Row, float]:
    """Return each cell's p-value of being worse than the best of its dataset by the margin."""
    against = [
        (row, comparison.gain([(1, row), (-1, rows[0])]))
        for rows in comparison.paired.values()
        for row in rows[1:]
    ]
    adjusted = holm([gain.not_worse(comparison.choices.margin) for _, gain in against])
    return {row: p for (row, _), p in zip(against, adjusted, strict=True)}


def cheapest_sentence(comparison: Comparison, dataset: str) -> str | None:
    """Say which cell is the cheapest that is as good; None where there is no verdict."""
    found = cheapest_good(comparison, dataset)
    if found is None:
        return None
    metric = comparison.choices.metric
    margin = f"{comparison.choices.margin:g} {title(metric)}"
    if found.row is found.best:
        text = (
            f"{dataset}: no cheaper cell is shown to be as good as the best, {found.best.label} "
            f"(not worse by {margin}, and worse in no other metric)"
        )
    else:
        times = work(found.best.cell) / max(work(found.row.cell), 1e-9)
        text = (
            f"{dataset}: the cheapest cell that is as good as the best (not worse by {margin}, and "
            f"worse in no other metric) is {found.row.label}, "
            f"{interval(found.row.metrics[metric])}, at 1/{times:.1f} of the work of the best"
        )
    if found.but:
        row, lost = found.but
        values = ", ".join(
            f"{listed_titles([name])} {number(row.metrics[name].mean)} for "
            f"{number(found.best.metrics[name].mean)}"
            for name in lost
        )
        text += f"; {row.label} is cheaper and within the margin, but worse in {values}"
    return f"{text}."


def describe_unlike_devices(comparison: Comparison) -> str | None:
    """Return a warning where times are of different machines."""
    devices = {cost(row.cell).device for rows in comparison.datasets.values() for row in rows}
    if len(devices) < 2:
        return None
    return (
        f"times are of different devices, so compare them with care: {', '.join(sorted(devices))}"
    )
