"""`sweep errors`: the test pictures that the confirmed models of a cell get wrong."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweep.base.atomic import write_text
from sweep.cli.options import HOME, console, home_of
from sweep.errors import SweepError

if TYPE_CHECKING:  # these modules take seconds to import
    from sweep.run.mistakes import Mistakes

_COLUMNS = ("probability", "label", "predicted", "wrong_in", "confirmations", "picture")


@click.command("errors")
@click.argument("name")
@click.argument("cell")
@click.option(
    "--gallery", type=click.Path(path_type=Path, dir_okay=False),
    help="HTML file to write, with patients' pictures.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="CSV file to write."
)
@click.option(
    "--most", type=click.IntRange(1), default=50, show_default=True,
    help="How many are printed, and shown in the gallery.",
)  # fmt: skip
@click.option("--heat-maps/--no-heat-maps", default=True, help="In the gallery. [default: with]")
@click.option(
    "--data-root", type=click.Path(path_type=Path, file_okay=False),
    help="Where the data is now. [default: as launched]",
)  # fmt: skip
@HOME
def errors_command(
    name: str,
    cell: str,
    gallery: Path | None,
    output: Path | None,
    most: int,
    heat_maps: bool,
    data_root: Path | None,
    home: Path | None,
) -> None:
    """Name the test pictures that the confirmed models of a cell get wrong, the surest first.

    It needs the data, and the key of the home, as results know pictures by hashes alone. Nothing
    of it goes to MLflow.
    """
    from sweep.records.home import existing

    folder = existing(home_of(home), name)
    for option, path in (("--gallery", gallery), ("--output", output)):
        if path and path.parent != Path() and not path.parent.is_dir():
            raise SweepError(f"{option} {path}: there is no folder {path.parent}")
    from sweep.cli.views.progress import progress_bars
    from sweep.run.mistakes import mistakes

    found = mistakes(folder, cell, data_root)
    _print(found, most)
    if output:
        write_text(output, _as_csv(found))
    if gallery:
        from sweep.run.gallery import WARNING
        from sweep.run.gallery import gallery as make

        root = data_root or Path(folder.settings().data_root)
        with progress_bars() as bars:
            page = make(folder, found, root, most, heat_maps, bars("drawing"))
        write_text(gallery, page)
        click.echo(f"{gallery}: {WARNING}", err=True)


def _print(found: "Mistakes", most: int) -> None:
    from rich.table import Table

    what = "groups" if found.cell.dataset.pooled else "pictures"
    summary = f"{len(found.found)} of {found.tested} test {what} are misclassified"
    click.echo(f"{found.cell.name}: {summary} by the mean of the confirmations")
    if not found.found:
        return
    table = Table(box=None, pad_edge=False)
    for column in ("Probability", "Label", "Predicted", "Wrong in", "Picture"):
        table.add_column(column, overflow="fold")
    for item in found.found[:most]:
        wrong = f"{item.wrong} of {item.of}"
        row = [f"{item.probability:.3f}", item.label, item.predicted, wrong, ", ".join(item.names)]
        table.add_row(*row)
    console().print(table, highlight=False, markup=False)
    if len(found.found) > most:
        click.echo(f"and {len(found.found) - most} more: --most, or --output FILE.csv", err=True)


def _as_csv(found: "Mistakes") -> str:
    from sweep.comparison.formats.frames import no_formula  # its pandas takes a second

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for item in found.found:
        texts = [no_formula(item.label), no_formula(item.predicted), item.wrong, item.of]
        writer.writerow([item.probability, *texts, no_formula(";".join(item.names))])
    return buffer.getvalue()
