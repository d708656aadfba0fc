"""How much work a sweep is, and how long it takes: by data set and in all."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from sweep.base.processes import cpu_count
from sweep.comparison import text
from sweep.run.plan import CellPlan
from sweep.run.work import seconds_by_dataset, shares
from sweep.train.speed import UNKNOWN_GPU, Speed, assumed_speed


def print_estimate(
    plans: list[CellPlan], places: Mapping[str, Mapping[str, Speed]], console: Console
) -> None:
    """Print the work of a sweep, and how long it takes.

    Args:
        places: the speed of each backbone there, by its name.
    """
    console.print(work_table(plans, places))
    unknown = list(dict.fromkeys(p.cell.dataset.name for p in plans if p.work is None))
    if unknown:
        line = f"The number of images is not known, and not counted, of: {', '.join(unknown)}."
        console.print(line, highlight=False, soft_wrap=True)
    console.print("Decoding, and the heads of frozen trunks, are not counted.", highlight=False)


def assumed_places(plans: list[CellPlan]) -> dict[str, Mapping[str, Speed]]:
    """Return the speeds of this machine's CPU, and of a GPU as many are, without measuring."""
    names, cores = {plan.cell.backbone.name for plan in plans}, cpu_count()
    gpu = f"on a GPU of {UNKNOWN_GPU / 1e12:.0f} TFLOP/s"
    return {
        gpu: dict.fromkeys(names, assumed_speed("")),
        f"on the {cores} CPU cores here": dict.fromkeys(names, assumed_speed(None, cores)),
    }


def work_table(plans: list[CellPlan], places: Mapping[str, Mapping[str, Speed]]) -> Table:
    """Return a table of the work of each data set, and how long it takes at each place.

    Args:
        places: the speed of each backbone there, by its name.
    """
    work = shares((plan.cell, plan.work) for plan in plans)
    table = Table(title="Work, if no trial is pruned", title_justify="left")
    table.add_column("Data set", overflow="fold")
    for name in ("Image passes", "Operations", *(f"Time {place}" for place in places)):
        table.add_column(name, justify="right")
    columns = [seconds_by_dataset(work, speeds) for speeds in places.values()]

    def add(title: str, datasets: list[str], end_section: bool) -> None:
        own = [share.work for share in work if share.dataset in datasets]
        times = [sum(seconds[name] for name in datasets) for seconds in columns]
        passes, flops = sum(item.passes for item in own), sum(item.flops for item in own)
        cells = [f"{passes:,}", text.flops(flops), *map(duration, times)]
        table.add_row(title, *cells, end_section=end_section)

    datasets = list(dict.fromkeys(share.dataset for share in work))
    for dataset in datasets:
        add(dataset, [dataset], dataset == datasets[-1])
    if len(datasets) != 1:
        add("in all", datasets, False)
    return table


def duration(seconds: float) -> str:
    """Return a time in a unit in which it is a short number."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{max(1, round(seconds / unit))} {name}"
    return f"{seconds / 86400:,.0f} days"
