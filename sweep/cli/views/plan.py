"""What a sweep would do, in words and a table: `--dry-run` and `sweep space show`."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from sweep.backbones.backbone import input_size, note_on_preprocessing, preprocessing
from sweep.backbones.families.base import family_of
from sweep.backbones.hub import search_folder
from sweep.base.addresses import without_password
from sweep.base.processes import cpu_count
from sweep.base.settings import default_tracking_uri
from sweep.errors import SweepError
from sweep.run.plan import (
    CellPlan,
    all_problems,
    check_networks,
    decodings,
    left_to_decode,
    missing,
    plan_cells,
    split_summaries,
    what_is_there,
)
from sweep.space.backbone import BackboneSpec
from sweep.space.model import Space
from sweep.tracking.store import refuse_tracking

# Typical throughput of convolutions and transformers, used to estimate hours.
_GPU_FLOPS, _CPU_CORE_FLOPS = 20e12, 15e9


def print_cells(space: Space, data_root: Path, console: Console) -> list[CellPlan]:
    """Print the cells of a space with what learns in each; return them."""
    plans = plan_cells(space, data_root)
    table = Table(title=_title(space), title_justify="left")
    table.add_column("Cell", overflow="fold")
    for name in ("Pixels", "Parameters", "Trainable", "Trials", "Epochs", "Image passes"):
        table.add_column(name, justify="right")
    for plan in plans:
        table.add_row(
            plan.cell.name,
            str(plan.size),
            f"{plan.parameters:,}",
            f"{plan.trainable:,}",
            str(plan.cell.trials),
            str(plan.cell.epochs),
            "?" if plan.passes is None else f"{plan.passes:,}",
        )
    console.print(table)
    described = [line for backbone in space.backbones for line in _describe(space, backbone)]
    _print_list(console, "Backbones", described)
    unknown = list(dict.fromkeys(p.cell.dataset.name for p in plans if p.classes is None))
    if unknown:
        console.print(f"Heads of {', '.join(unknown)} are counted with 2 classes.")
    return plans


def print_plan(
    space: Space,
    data_root: Path,
    weights_dir: Path | None,
    tracking_uri: str | None,
    console: Console,
) -> None:
    """Print everything a launch would do, and what it lacks.

    Raises SweepError for what would refuse the launch.
    """
    search_folder(weights_dir)
    lacking = missing(space, data_root, weights_dir, fetch=False)
    try:
        plans = print_cells(space, data_root, console)
        notes = check_networks(space, weights_dir)
    except SweepError as error:
        raise SweepError(all_problems(lacking, str(error))) from None
    if notes:
        _print_list(console, "Weights", notes)
    _print_list(console, "Splits, leaks still in", split_summaries(space, data_root))
    _print_list(console, "To decode", _to_decode(space, data_root))
    _print_list(console, "Missing, or to be downloaded", lacking)
    if hint := what_is_there(space, data_root):
        console.print(hint, highlight=False, soft_wrap=True)
    uri = tracking_uri or default_tracking_uri()
    silence = refuse_tracking(uri)
    answers = "answers, or is made" if silence is None else f"does not answer now: {silence}"
    console.print(f"MLflow at {without_password(uri)}: {answers}", highlight=False, soft_wrap=True)
    console.print(_estimate(plans), highlight=False, soft_wrap=True)


def _describe(space: Space, backbone: BackboneSpec) -> list[str]:
    """Return a backbone's model and weights, and how it sees an image."""
    size = input_size(backbone, space.image_size)
    weights = "" if backbone.weights == "hub" else f", weights {backbone.weights}"
    kwargs = "".join(f", {key} {value}" for key, value in backbone.kwargs)
    seen = f"{size} px, {preprocessing(backbone)}"
    line = f"{backbone.name}: {family_of(backbone).full_name(backbone)}{weights}{kwargs}; {seen}"
    note = note_on_preprocessing(backbone)
    return [line, f"  {note}"] if note else [line]


def _title(space: Space) -> str:
    cells = space.cells()
    trials = sum(cell.trials for cell in cells)
    axes = f"{len(space.datasets)} datasets x {len(space.backbones)} backbones"
    axes += f" x {len(space.freeze)} freeze modes"
    if len(space.train_fraction) > 1:
        axes += f" x {len(space.train_fraction)} train fractions"
    return (
        f"{space.name}: {len(cells)} cells ({axes}), "
        f"{trials:,} trials, {sum(cell.confirmations for cell in cells):,} confirmations"
    )


def _to_decode(space: Space, data_root: Path) -> list[str]:
    return [
        f"{item.title}: {count:,} images, {count * item.size**2 * 3 / 2**20:,.0f} MiB"
        for item, count in left_to_decode(decodings(space), space.split, data_root)
    ]


def _print_list(console: Console, title: str, lines: list[str]) -> None:
    console.print(f"{title}: {'nothing' if not lines else ''}", highlight=False)
    for line in lines:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def _estimate(plans: list[CellPlan]) -> str:
    flops, passes, unknown = 0.0, 0, 0
    features = set()
    for plan in plans:
        of_features = plan.cell.dataset.name, plan.cell.backbone.name
        if plan.flops is None or plan.passes is None:
            unknown += 1
        elif not plan.cell.fused or of_features not in features:
            flops, passes = flops + plan.flops, passes + plan.passes
        if plan.cell.fused:  # all frozen modes have the same features, which are computed once
            features.add(of_features)
    without = f", without {unknown} cells of unknown size" if unknown else ""
    cores = cpu_count()
    return (
        f"Work, if no trial is pruned{without}: {passes:,} image passes, {flops / 1e15:,.2f} "
        f"PFLOP. About {_duration(flops / _GPU_FLOPS)} on a GPU that sustains 20 TFLOP/s, "
        f"{_duration(flops / (_CPU_CORE_FLOPS * cores))} on the {cores} CPU cores here."
    )


def _duration(seconds: float) -> str:
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{max(1, round(seconds / unit))} {name}"
    return f"{seconds / 86400:,.0f} days"
