"""`sweep predict`: the confirmed model of a cell on other images."""

import csv
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweep.base.atomic import write_text
from sweep.cli.options import HOME, home_of
from sweep.errors import SweepError, listing

if TYPE_CHECKING:  # these modules take seconds to import
    from sweep.train.predict import Predictions


@click.command()
@click.argument("name")
@click.argument("cell")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, type=click.Path(path_type=Path, dir_okay=False),
    help="CSV file to write: path, class, p_CLASS of each class.",
)  # fmt: skip
@click.option(
    "--ensemble", is_flag=True, help="The mean of all confirmations, not the first alone."
)
@HOME
def predict(
    name: str,
    cell: str,
    images: tuple[Path, ...],
    output: Path,
    ensemble: bool,
    home: Path | None,
) -> None:
    """Tell the class of IMAGES by the confirmed model of a cell.

    IMAGES are pictures, DICOM files, volumes, folders of them, or CSV files with a column path (of
    volumes also mask, if there are some).
    Where the model was calibrated, uncalibrated_CLASS are the probabilities without its
    temperature. Exit code 1 if some could not be read.
    """
    from sweep.records.home import existing

    folder = existing(home_of(home), name)
    if output.parent != Path() and not output.parent.is_dir():
        raise SweepError(f"--output {output}: there is no folder {output.parent}")
    from sweep.cli.views.progress import progress_bars
    from sweep.run.winner import load_others, load_winner
    from sweep.train.predict import files_of
    from sweep.train.predict import predict as run

    winner = load_winner(folder, cell)
    others = load_others(folder, winner) if ensemble else ()
    dataset = winner.cell.dataset
    files = files_of(dataset, images)
    with progress_bars() as bars:
        found = run(winner.model, dataset, files, bars, (other.model for other in others))
    write_text(output, _as_csv(found, winner.model.classes, winner.model.target))
    done = len(files) - len(found.problems)
    click.echo(f"{done} of {len(files)} predicted by {cell}: {output}", err=True)
    if found.problems:
        lines = [f"{found.files[number]}: {why}" for number, why in found.problems.items()]
        click.echo(f"not read:\n{listing(lines)}", err=True)
        sys.exit(1)


def _as_csv(found: "Predictions", classes: list[str], target: str) -> str:
    """Return a line for each file; what cannot be read has no class and no probabilities.

    Args:
        target: of a file with any of several labels those are named that are predicted.
    """
    from sweep.comparison.formats.frames import no_formula  # its pandas takes a second
    from sweep.data.multilabel import predicted_labels
    from sweep.records.predictions import PROBABILITY, UNCALIBRATED
    from sweep.space.specs import MULTILABEL

    buffer, raw = io.StringIO(), found.uncalibrated_FC
    writer = csv.writer(buffer, lineterminator="\n")
    head = [f"{PROBABILITY}{label}" for label in classes]
    head += [f"{UNCALIBRATED}{label}" for label in classes] if raw is not None else []
    writer.writerow(["path", "labels" if target == MULTILABEL else "class", *head])
    for number, file in enumerate(found.files):
        name = no_formula(str(file))
        row = found.probabilities_FC[number].tolist()
        more = raw[number].tolist() if raw is not None else []
        if row[0] != row[0]:  # NaN
            writer.writerow([name, *[""] * (1 + len(head))])
        else:
            own = classes[row.index(max(row))]
            if target == MULTILABEL:
                own = predicted_labels(classes, row)
            writer.writerow([name, own, *row, *more])
    return buffer.getvalue()
