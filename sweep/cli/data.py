"""`sweep data`: what there is, whether it is sound, and decoding it ahead."""

import sys
from pathlib import Path
from typing import Any

import click

from sweep.cli.options import DATA_ROOT, JSON, ONLY, SET, WEIGHTS_DIR, console, load_space_file

_SIDE = click.IntRange(16, 2048)


@click.group()
def data() -> None:
    """Datasets: what there is, whether it is sound, decoding ahead."""


@data.command("list")
@DATA_ROOT
def data_list(data_root: Path) -> None:
    """List the datasets a space may use by name, and how to get those not there."""
    from sweep.data.layouts import missing
    from sweep.space.datasets import known_datasets
    from sweep.space.specs import DatasetSpec

    for name in known_datasets():
        problem = missing(DatasetSpec.model_validate(name), data_root)
        click.echo(f"{name:16} {'there' if problem is None else problem.partition(': ')[2]}")


@data.command("check")
@click.argument("name_or_path", metavar="NAME|PATH")
@click.option("--space", "space_name", help="Take NAME's entry from this space.")
@click.option("--layout", help="How PATH is laid out. [default: by what is in it]")
@click.option(
    "--group",
    help="Regular expression for the patient in a file name, or a column of a table (csv).",
)
@click.option("--modality", help="Of volumes: t1, t1ce, t2 or flair.")
@click.option("--impact", is_flag=True, help="Score a quick probe with and without the leaks.")
@click.option("--backbone", default="lite0", show_default=True, help="Of --impact.")
@click.option("--image-size", type=_SIDE, default=128, show_default=True, help="Of --impact.")
@DATA_ROOT
@WEIGHTS_DIR
@JSON
def data_check(
    name_or_path: str,
    space_name: str | None,
    layout: str | None,
    group: str | None,
    modality: str | None,
    impact: bool,
    backbone: str,
    image_size: int,
    data_root: Path,
    weights_dir: Path | None,
    as_json: bool,
) -> None:
    """Look for leaks, copies, damage and shortcuts; exit code 1 if a comparison would be biased."""
    keys = {"layout": layout, "group": group, "modality": modality}
    spec, split = _dataset(name_or_path, space_name, data_root, keys)
    from sweep.base.settings import default_cache
    from sweep.data.quality.checks import check

    with _bars() as bars:
        result = check(spec, split, data_root, default_cache(), bars(spec.name))
    measured = None
    if impact:
        from sweep.cli.views.data_check import measure_impact, probe_backbone

        found = probe_backbone(backbone, weights_dir)
        where = (data_root, weights_dir, default_cache())
        measured = measure_impact(spec, result, found, image_size, *where)
    from sweep.cli.views import data_check as datacheck

    if as_json:
        click.echo(datacheck.as_json(result, measured))
    else:
        datacheck.print_check(result, measured, console())
    sys.exit(1 if result.biased else 0)


@data.command("prepare")
@click.argument("name_or_path", metavar="SPACE|NAME|PATH")
@click.option("--image-size", type=_SIDE, default=224, show_default=True, help="Of NAME or PATH.")
@SET
@ONLY
@DATA_ROOT
def data_prepare(
    name_or_path: str,
    image_size: int,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    data_root: Path,
) -> None:
    """Decode the images of a space, or of one dataset, ahead; download MedMNIST's sets."""
    from sweep.cli.views.data_prepare import download, prepare_stores
    from sweep.space.file import is_space

    if is_space(name_or_path):
        space = load_space_file(name_or_path, overrides, only, None)
        from sweep.run.plan import decodings

        wanted, split = decodings(space), space.split
    else:
        from sweep.run.plan import Decoding

        spec, split = _dataset(name_or_path, None, data_root, {})
        wanted = [Decoding(spec, image_size, "bicubic")]
    for spec in dict.fromkeys(item.dataset for item in wanted):
        if download(spec, data_root):
            click.echo(f"{spec.name}: downloaded")
    with _bars() as bars:
        lines = prepare_stores(wanted, split, data_root, bars)
    for line in lines:
        click.echo(line)


def _dataset(
    name_or_path: str, space_name: str | None, data_root: Path, keys: dict[str, str | None]
) -> tuple[Any, Any]:
    """Return the dataset that is meant, and how it is to be split."""
    from pydantic import ValidationError

    from sweep.data.layouts.recognise import dataset_of
    from sweep.errors import DataError, nearest
    from sweep.space.recipe import Split

    if space_name is None:
        try:
            return dataset_of(name_or_path, data_root, **keys), Split()
        except ValidationError as error:
            problems = "; ".join(
                str(i["msg"]).removeprefix("Value error, ") for i in error.errors()
            )
            raise DataError(f"{name_or_path}: {problems}") from None
    space = load_space_file(space_name, (), (), None)
    by_name = {spec.name: spec for spec in space.datasets}
    if name_or_path not in by_name:
        raise DataError(
            f"{name_or_path!r} is not in the space {space.name}: {', '.join(by_name)}"
            f"{nearest(name_or_path, by_name)}"
        )
    return by_name[name_or_path], space.split


def _bars() -> Any:
    from sweep.cli.views.progress import decoding_bars

    return decoding_bars()
