"""`sweep predict`: the confirmed model of a cell on other images."""

import csv
import io
import sys
from pathlib import Path

import click

from sweep.base.atomic import write_text
from sweep.cli.options import HOME, home_of
from sweep.errors import SweepError, listing


@click.command()
@click.argument("name")
@click.argument("cell")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, type=click.Path(path_type=Path, dir_okay=False),
    help="CSV file to write: path, class, p_CLASS of each class.",
)  # fmt: skip
@HOME
def predict(
    name: str, cell: str, images: tuple[Path, ...], output: Path, home: Path | None
) -> None:
    """Tell the class of IMAGES by the confirmed model of a cell.

    IMAGES are pictures, DICOM files, volumes, folders of them, or CSV files with a column path.
    Exit code 1 if some could not be read.
    """
    from sweep.records.home import existing

    folder = existing(home_of(home), name)
    if output.parent != Path() and not output.parent.is_dir():
        raise SweepError(f"--output {output}: there is no folder {output.parent}")
    from sweep.cli.views.progress import progress_bars
    from sweep.run.winner import load_winner
    from sweep.train.predict import files_of
    from sweep.train.predict import predict as run

    winner = load_winner(folder, cell)
    dataset = winner.cell.dataset
    files = files_of(dataset, images)
    with progress_bars() as bars:
        found = run(winner.model, dataset, files, bars)
    write_text(output, _as_csv(found.files, winner.model.classes, found.probabilities_FC.tolist()))
    done = len(files) - len(found.problems)
    click.echo(f"{done} of {len(files)} predicted by {cell}: {output}", err=True)
    if found.problems:
        lines = [f"{files[number]}: {why}" for number, why in found.problems.items()]
        click.echo(f"not read:\n{listing(lines)}", err=True)
        sys.exit(1)


def _as_csv(files: list[Path], classes: list[str], rows: list[list[float]]) -> str:
    """Return a line for each file; what cannot be read has no class and no probabilities."""
    from sweep.comparison.formats.frames import no_formula  # its pandas takes a second

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["path", "class", *(f"p_{label}" for label in classes)])
    for file, row in zip(map(no_formula, map(str, files)), rows, strict=True):
        if row[0] != row[0]:  # NaN
            writer.writerow([file, "", *("" for _ in row)])
        else:
            writer.writerow([file, classes[row.index(max(row))], *row])
    return buffer.getvalue()
