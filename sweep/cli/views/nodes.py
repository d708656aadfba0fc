"""What the nodes of a cluster have, lack, and take for a sweep: `--dry-run --address`."""

from rich.console import Console
from rich.table import Table

from sweep.cli.views.doctor import node_table
from sweep.cli.views.estimate import print_estimate
from sweep.errors import SweepError
from sweep.records.folder import SweepFolder
from sweep.run.disk import DiskNeeds, gib
from sweep.run.plan import CellPlan, model_sizes
from sweep.search.ray.connection import cluster
from sweep.search.ray.doctor import CheckedNode, check_cluster, lacking, marked
from sweep.search.ray.node_check import Places
from sweep.search.ray.nodes import by_problem
from sweep.search.ray.resources import ResourcePlanner
from sweep.search.ray.speeds import MeasuredKind, assume, kinds_of, measure, speed_of_all
from sweep.space.imports import imported
from sweep.space.model import Space
from sweep.train.speed import is_known
from sweep.train.wave import SweepContext


def print_nodes(
    space: Space,
    places: Places,
    address: str,
    plans: list[CellPlan],
    needs: DiskNeeds,
    measured: bool,
    console: Console,
) -> list[str]:
    """Print what each node has, and how long the sweep takes there; return what is lacking.

    Args:
        places: absolute paths.
        measured: run every backbone on a processor of each kind, 20 seconds at most.

    Raises:
        SweepError: the cluster cannot be reached.
        OSError: the home cannot be written to.
    """
    context = SweepContext(
        space=space,
        sweep_id="",
        folder=SweepFolder(places.home, space.name),
        data_root=places.data_root,
        weights_dir=places.weights_dir,
        cache=places.cache,
        ids_key=b"",
        modules=imported(space.imports),
    )
    with marked(places.home) as mark, cluster(address):
        nodes = check_cluster(places, mark, context)
        console.print(node_table(nodes))
        kinds = kinds_of(nodes)
        if measured:
            with console.status("measuring: 20 seconds a backbone") as status:
                found = measure(context, kinds, lambda done: status.update(f"measured {done}"))
        else:
            found = assume(context, kinds, "--no-measure")
    if found:
        _print_speeds(found, console)
        print_estimate(plans, {"on all of them": speed_of_all(found)}, console)
    return [*lacking(nodes), *_full_disks(nodes, needs), *_too_small(nodes, plans)]


def _full_disks(nodes: list[CheckedNode], needs: DiskNeeds) -> list[str]:
    lacks = {item.node.id: _full(item, needs) for item in nodes}
    return by_problem([item.node for item in nodes], lacks)


def _full(item: CheckedNode, needs: DiskNeeds) -> list[str]:
    free = item.report.free_mib if item.report else {}
    return [
        f"the disk of the {place} has {gib(free[place])} free, and the sweep may need {gib(need)}"
        for place, need in needs.of_place.items()
        if place in free and free[place] < need
    ]


def _too_small(nodes: list[CheckedNode], plans: list[CellPlan]) -> list[str]:
    """Return which cells fit no node."""
    if not nodes:
        return []
    try:
        ResourcePlanner([item.node for item in nodes], model_sizes(plans))
    except SweepError as error:
        return [str(error)]
    return []


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
