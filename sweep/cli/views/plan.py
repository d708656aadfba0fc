"""What a sweep would do, in words and a table: `--dry-run` and `sweep space show`."""

from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sweep.backbones.backbone import input_size, note_on_preprocessing, preprocessing
from sweep.backbones.families.base import family_of
from sweep.backbones.hub import search_folder
from sweep.base.addresses import without_password
from sweep.base.settings import default_tracking_uri
from sweep.data.layouts import missing as missing_data
from sweep.errors import SweepError
from sweep.run.disk import DiskNeeds, disk_needs
from sweep.run.plan import (
    CellPlan,
    Decoding,
    all_problems,
    check_networks,
    decodings,
    left_to_decode,
    missing,
    plan_cells,
    reading,
    split_summaries,
    what_is_there,
)
from sweep.space.backbone import BackboneSpec
from sweep.space.model import Space
from sweep.tracking.store import refuse_tracking


def print_cells(space: Space, data_root: Path, console: Console) -> list[CellPlan]:
    """Print the cells of a space with what learns in each; return them."""
    plans = plan_cells(space, data_root)
    table = Table(title=_title(space), title_justify="left")
    for name in ("Data set", "Cell"):
        table.add_column(name, overflow="fold")
    for name in ("Pixels", "Parameters", "Trainable", "Trials", "Epochs", "Image passes"):
        table.add_column(name, justify="right")
    for dataset, group in groupby(plans, lambda plan: plan.cell.dataset.name):
        table.add_section()
        for number, plan in enumerate(group):
            table.add_row("" if number else dataset, *_row(plan))
    console.print(table)
    described = [line for backbone in space.backbones for line in _describe(space, backbone)]
    _print_list(console, "Backbones", described)
    unknown = list(dict.fromkeys(p.cell.dataset.name for p in plans if p.classes is None))
    if unknown:
        console.print(f"Heads of {', '.join(unknown)} are counted with 2 classes.")
    return plans


def _row(plan: CellPlan) -> list[str]:
    numbers = plan.parameters, plan.trainable, plan.cell.trials, plan.cell.epochs
    passes = "?" if plan.work is None else f"{plan.work.passes:,}"
    name = plan.cell.name.removeprefix(f"{plan.cell.dataset.name}/")
    return [name, str(plan.size), *(f"{number:,}" for number in numbers), passes]


def print_plan(
    space: Space,
    data_root: Path,
    weights_dir: Path | None,
    tracking_uri: str | None,
    console: Console,
) -> tuple[list[CellPlan], DiskNeeds]:
    """Print what a launch would do, and what it lacks; return the cells, and the disk they need.

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
    left = left_to_decode(decodings(space), space.split, data_root)
    _print_list(
        console,
        "Data sets, before samples that leak are left out",
        _describe_datasets(space, data_root, left),
    )
    console.print(f"To decode: {sum(count for _, count in left) or 'nothing'}", highlight=False)
    weights = [text for text in lacking if text.startswith("backbone ")]
    _print_list(console, "Weights that are missing, or to be downloaded", weights)
    if hint := what_is_there(space, data_root):
        console.print(hint, highlight=False, soft_wrap=True)
    uri = tracking_uri or default_tracking_uri()
    silence = refuse_tracking(uri)
    answers = "answers, or is made" if silence is None else f"does not answer now: {silence}"
    console.print(f"MLflow at {without_password(uri)}: {answers}", highlight=False, soft_wrap=True)
    needs = disk_needs(plans, left, space.keep_models)
    console.print(f"Disk: {needs}", highlight=False, soft_wrap=True)
    return plans, needs


def _describe_datasets(
    space: Space, data_root: Path, left: list[tuple[Decoding, int]]
) -> list[str]:
    """Return the splits of each data set, and each external one, and how its files are read."""
    summaries, lines = split_summaries(space, data_root), []
    for dataset in space.datasets:
        for images in (dataset, *dataset.external):
            name = dataset.name if images is dataset else f"{dataset.name}.{images.name}"
            if text := missing_data(images, data_root):
                lines.append(text)
                continue
            sizes = [f"{item.size} px" for item, _ in left if item.name == name]
            about = summaries[name] if images is dataset else "external test set"
            to_decode = f"; to decode at {', '.join(sizes)}" if sizes else ""
            lines.append(f"{name}: {about}{to_decode}")
            lines += reading(name, images, data_root)
    return lines


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


def _print_list(console: Console, title: str, lines: list[str]) -> None:
    console.print(f"{title}: {'nothing' if not lines else ''}", highlight=False)
    for line in lines:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
