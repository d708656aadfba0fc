"""How much work a sweep is, and how long it takes: by data set and in all."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from sweep.base.processes import cpu_count
from sweep.comparison import text
from sweep.run.plan import CellPlan
from sweep.run.work import seconds_by_dataset, shares
from sweep.search.ray.speeds import MeasuredKind, speed_of_all
from sweep.train.speed import UNKNOWN_GPU, Speed, assumed_speed, is_known


def print_estimate(
    plans: list[CellPlan], console: Console, kinds: list[MeasuredKind] | None = None
) -> None:
    """Print the work of a sweep, and how long it takes.

    Args:
        kinds: of processors on which it is to run; None for this machine and a GPU like many.
    """
    names = {plan.cell.backbone.name for plan in plans}
    places: dict[str, Mapping[str, Speed]]
    if kinds is None:
        here, cores = assumed_speed(None, cpu_count()), cpu_count()
        places = {
            f"on a GPU of {UNKNOWN_GPU / 1e12:.0f} TFLOP/s": dict.fromkeys(
                names, assumed_speed("")
            ),
            f"on the {cores} CPU cores here": dict.fromkeys(names, here),
        }
    else:
        places = {"on all of them": speed_of_all(kinds)}
        _print_speeds(kinds, console)
    console.print(work_table(plans, places))
    unknown = list(dict.fromkeys(p.cell.dataset.name for p in plans if p.work is None))
    if unknown:
        line = f"The number of images is not known, and not counted, of: {', '.join(unknown)}."
        console.print(line, highlight=False, soft_wrap=True)
    console.print("Decoding, and the heads of frozen trunks, are not counted.", highlight=False)


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


def _print_speeds(kinds: list[MeasuredKind], console: Console) -> None:
    table = Table(title="Speed, TFLOP/s", title_justify="left")
    for name in ("Processors", "Backbone"):
        table.add_column(name, overflow="fold")
    for name in ("predicting", "training"):
        table.add_column(name, justify="right")
    table.add_column("", overflow="fold")
    for item in kinds:
        title = f"{item.kind.count:g} x {item.kind.name}"
        for backbone, speed in item.speeds.items():
            rates = [f"{rate / 1e12:.3g}" for rate in (speed.scoring, speed.training)]
            table.add_row(title, backbone, *rates, _origin(item, backbone))
            title = ""
    console.print(table)


def _origin(item: MeasuredKind, backbone: str) -> str:
    if backbone not in item.assumed:
        return "measured"
    gpu = item.kind.gpu
    source = "of the kind's peak" if gpu and is_known(gpu) else "as many have"
    return f"assumed, {source}: {item.assumed[backbone]}"
