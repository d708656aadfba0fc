"""The command line: parse, call, print. Heavy imports are inside the commands."""

import os
import shutil
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click

from sweep import __version__
from sweep.base.addresses import without_password
from sweep.cli.data import data
from sweep.cli.export import export
from sweep.cli.mistakes import errors_command
from sweep.cli.options import (
    AGAINST,
    CLUSTER,
    DATA_ROOT,
    FROM_URI,
    HOME,
    JSON,
    MARGIN,
    METRIC,
    NAMES,
    ONLY,
    SET,
    TRACKING,
    WEIGHTS_DIR,
    console,
    home_of,
    load_space_file,
)
from sweep.cli.output import forgiving_output
from sweep.cli.predict import predict
from sweep.cli.remote import ADDRESS, ask_head, on_the_head
from sweep.cli.sweeps import living
from sweep.cli.sync import sync, verify_command
from sweep.errors import Interrupted, SweepError

_FAULT_EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h
_PAGES = 10  # of sweeps, the newest first


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sweep")
def cli() -> None:
    """Which pre-trained backbone, and how much of it frozen, for our medical images?"""


@cli.command()
@NAMES
@METRIC
@MARGIN
@click.option(
    "--format",
    "style",
    default="table",
    show_default=True,
    help="table, markdown, latex, csv, json or parquet.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file.")
@AGAINST
@FROM_URI
@HOME
@ADDRESS
@on_the_head
def compare(
    names: tuple[str, ...],
    metric: str | None,
    margin: float | None,
    style: str,
    output: Path | None,
    against: Path | None,
    tracking_uri: str | None,
    home: Path | None,
) -> None:
    """Compare the cells of one or several sweeps on the test split."""
    from sweep.comparison.api import require_format
    from sweep.run.api import Places
    from sweep.run.api import compare as run

    require_format(style, output)
    places = Places(home, None, None, tracking_uri)
    found = run(*names, metric=metric, margin=margin, places=places, against=against)
    if output:
        found.write(output, style)
    else:
        out = console()
        click.echo(found.render(style, out.width if out.is_terminal else None))
    _note(found.notes())


@cli.command()
@NAMES
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="Where to write it.",
)
@METRIC
@MARGIN
@AGAINST
@click.option("--track/--no-track", default=True, help="Keep it in MLflow, too. [default: track]")
@FROM_URI
@HOME
@ADDRESS
@on_the_head
def report(
    names: tuple[str, ...],
    output: Path,
    metric: str | None,
    margin: float | None,
    against: Path | None,
    track: bool,
    tracking_uri: str | None,
    home: Path | None,
) -> None:
    """Write the comparison as one HTML file: figures, tables, methods, a checklist."""
    from rich.console import Console

    from sweep.run.api import Places
    from sweep.run.api import compare as run

    places = Places(home, None, None, tracking_uri)
    with Console(stderr=True).status("comparing") as status:
        found = run(*names, metric=metric, margin=margin, places=places, against=against)
        found.write_report(output, lambda name: status.update(f"drawing {name}"))
        notes = found.notes()
        if track:
            status.update("drawing MLflow")
            notes = [*notes, *found.log_report(output)]
    _note(notes)
    click.echo(f"written to {output}: open it in a browser")


@cli.group()
def space() -> None:
    """Space files: what a sweep compares."""


@space.command("list")
def space_list() -> None:
    """List the shipped spaces."""
    from sweep.space.file import shipped_spaces, summary

    shipped = shipped_spaces()
    width = max(map(len, shipped), default=0)
    for name, path in shipped.items():
        click.echo(f"{name:{width}} {summary(path)}")


@space.command("show")
@click.argument("name_or_path")
@SET
@ONLY
@DATA_ROOT
@WEIGHTS_DIR
def space_show(
    name_or_path: str,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    data_root: Path,
    weights_dir: Path | None,
) -> None:
    """Print a space's cells, how many parameters learn in each, and how backbones see an image."""
    loaded = load_space_file(name_or_path, overrides, only, None)
    from sweep.backbones.hub import search_folder
    from sweep.cli.views.plan import print_cells

    search_folder(weights_dir)
    print_cells(loaded, data_root, console())


@space.command("check")
@click.argument("name_or_path")
@SET
@ONLY
def space_check(name_or_path: str, overrides: tuple[str, ...], only: tuple[str, ...]) -> None:
    """Check a space file, without looking at data or weights."""
    loaded = load_space_file(name_or_path, overrides, only, None)
    click.echo(f"{loaded.name}: {len(loaded.cells())} cells, no problem found")


cli.add_command(data)
cli.add_command(predict)
cli.add_command(export)
cli.add_command(errors_command)
cli.add_command(sync)
cli.add_command(verify_command)
for command in living:
    cli.add_command(command)


@cli.group()
def weights() -> None:
    """Backbones' weights."""


@weights.command("list")
@WEIGHTS_DIR
def weights_list(weights_dir: Path | None) -> None:
    """List the backbones a space may use by name, and how to get weights not there."""
    from sweep.backbones.families.base import missing_weights
    from sweep.space.aliases import ALIASES
    from sweep.space.backbone import BackboneSpec

    if weights_dir and not weights_dir.is_dir():
        raise SweepError(f"--weights-dir {weights_dir}: there is no such folder")
    width = max(map(len, ALIASES))
    for name in ALIASES:
        problem = missing_weights(BackboneSpec.model_validate(name), weights_dir)
        click.echo(f"{name:{width}} {'there' if problem is None else problem}")


@weights.command("pull")
@click.option("--space", "space_name", required=True, metavar="NAME|PATH", help="Whose backbones.")
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path, file_okay=False),
    help="The folder that becomes the other site's --weights-dir.",
)  # fmt: skip
@SET
@ONLY
def weights_pull(
    space_name: str, folder: Path, overrides: tuple[str, ...], only: tuple[str, ...]
) -> None:
    """Download a space's weights into a folder, to carry to a site without internet."""
    loaded = load_space_file(space_name, overrides, only, None)
    from sweep.backbones.pull import pull

    for line in pull(loaded.backbones, folder):
        click.echo(line)
    click.echo(f"carry {folder} along, and launch there with: --weights-dir {folder.name}")


@cli.command("doctor")
@DATA_ROOT
@WEIGHTS_DIR
@TRACKING
@HOME
@CLUSTER
@JSON
def doctor_command(
    data_root: Path,
    weights_dir: Path | None,
    tracking_uri: str | None,
    home: Path | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Show what this machine or cluster has, and what it lacks."""
    from sweep.remote.request import is_remote

    if is_remote(address):
        ask_head(str(address), extra=("--address", "auto"))
        return
    from sweep.cli.views import doctor

    places = (data_root, weights_dir, home_of(home))
    found = doctor.diagnose(*places, tracking_uri, address)
    if as_json:
        click.echo(doctor.as_json(found))
    else:
        doctor.show(found, console())
    found.refuse()


@cli.command()
@TRACKING
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=5000, show_default=True)
@click.option(
    "--optuna", metavar="NAME", help="Open optuna-dashboard on the search of a sweep instead."
)
@HOME
def ui(
    tracking_uri: str | None, host: str, port: int, optuna: str | None, home: Path | None
) -> None:
    """Open MLflow's web interface on the tracking store."""
    if optuna:
        _open_dashboard(optuna, home_of(home), host, port)
    from sweep.base.settings import default_tracking_uri
    from sweep.tracking.store import is_missing_file

    uri = tracking_uri or default_tracking_uri()
    shown = without_password(uri)
    if uri.startswith(("http://", "https://")):
        click.echo(f"the tracking server is at {shown}: open it in a browser")
        _print_pages(uri, shown)
        return
    click.echo(f"MLflow on {shown}: open http://{host}:{port} (Ctrl-C ends it)")
    if not is_missing_file(uri):
        _print_pages(uri, f"http://{host}:{port}")
    sys.stdout.flush()
    # Other users can read a process's command line, but not its environment.
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri
    command = ["mlflow", "ui", "--host", host, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", *command])


def _open_dashboard(name: str, home: Path, host: str, port: int) -> NoReturn:
    """Become optuna-dashboard; raises SweepError if it is not installed."""
    from sweep.records.home import existing

    folder = existing(home, name)
    beside = Path(sys.executable).parent  # of an environment that is not activated
    program = shutil.which(
        "optuna-dashboard", path=os.pathsep.join([str(beside), *os.get_exec_path()])
    )
    if program is None:
        raise SweepError("optuna-dashboard is not installed: pip install optuna-dashboard")
    storage = folder.settings().ledger or folder.ledger
    click.echo(f"the search of {name}: open http://{host}:{port} (Ctrl-C ends it)")
    sys.stdout.flush()
    os.execv(program, [program, storage, "--host", host, "--port", str(port)])


def _print_pages(uri: str, address: str) -> None:
    """Print where in MLflow each sweep has a line for each cell; nothing if MLflow is silent."""
    from sweep.tracking.experiment import pages

    with suppress(Exception):  # the server or the network may fail in many ways
        for name, page in list(pages(uri).items())[:_PAGES]:
            click.echo(f"  {name}: {address.rstrip('/')}/{page}")


def main() -> None:
    """Run the command line; every failure is one message and an exit code."""
    with forgiving_output():
        _main()


def _main() -> None:
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(SweepError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", Interrupted.exit_code)
    except SweepError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        _fail(f"{error.strerror or error}{place}", SweepError.exit_code)
    except Exception as error:
        _fail(_fault(error), _FAULT_EXIT_CODE)


def _fault(error: Exception) -> str:
    """Write the traceback of an unexpected error to a file; return what to say of it."""
    first_line = next(iter(str(error).splitlines()), "")
    text = f"this is a fault of sweep itself ({type(error).__name__}: {first_line}): please report"
    try:
        handle, path = tempfile.mkstemp(prefix="sweep-fault-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"sweep {__version__}: {' '.join(sys.argv)}\n\n")
            traceback.print_exception(error, file=file)
    except OSError:  # the disk is full or cannot be written to
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{text} it; it happened in {last.filename}, line {last.lineno}"
    return f"{text} it with {path}, which tells where"


def _fail(text: str, code: int) -> None:
    text = without_password(text)
    click.echo(text if code == Interrupted.exit_code else f"Error: {text}", err=True)
    sys.exit(code)


def _note(notes: list[str]) -> None:
    for note in notes:
        click.echo(f"Note: {without_password(note)}", err=True)
