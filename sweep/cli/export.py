"""`sweep export`: the confirmed model of a cell, to be used elsewhere."""

from pathlib import Path

import click

from sweep.cli.options import HOME, home_of


@click.command()
@click.argument("name")
@click.argument("cell")
@click.option(
    "--format", "style", default="timm", show_default=True, metavar="timm|onnx|mlflow",
    help="What will load it.",
)  # fmt: skip
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@HOME
def export(name: str, cell: str, style: str, output: Path, home: Path | None) -> None:
    """Write the confirmed model of a cell, with its model card, into a new folder."""
    from sweep.records.home import existing

    folder = existing(home_of(home), name)
    from sweep.run.export import export as run

    run(folder, cell, style, output)
    click.echo(f"written to {output}: see {output / 'README.md'}", err=True)
