"""`sweep launch` and what comes after it: resume, stop, status, logs, list, remove."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweep.cli.options import (
    CLUSTER,
    DATA_ROOT,
    HOME,
    JSON,
    ONLY,
    REGISTER,
    SET,
    TRACKING,
    WEIGHTS_DIR,
    console,
    home_of,
    load_space_file,
)
from sweep.cli.output import outlive_output
from sweep.cli.remote import ADDRESS, ask_head, begin_on_head, on_the_head
from sweep.errors import SweepError

if TYPE_CHECKING:  # these modules take seconds to import
    from sweep.cli.views.progress import TerminalListener
    from sweep.run.launch import Outcome

_DETACH = click.option("--detach", is_flag=True, help="Submit the job, and do not follow it.")
_LOCAL = click.option(
    "--local", is_flag=True, help="Run one wave after the other in this process, without Ray."
)
_RETRIES = click.option(
    "--retries", type=click.IntRange(0), help="How often a failed wave is tried again. [default: 2]"
)


@click.command()
@click.option("--space", "space_name", required=True, metavar="NAME|PATH", help="What to compare.")
@click.option("--name", help="Name of the sweep. [default: the space's]")
@SET
@ONLY
@DATA_ROOT
@WEIGHTS_DIR
@TRACKING
@HOME
@CLUSTER
@_DETACH
@_RETRIES
@_LOCAL
@REGISTER
@click.option(
    "--ledger", metavar="URL", help="Database of the search. [default: a file under --home]"
)
@click.option(
    "--keep-going", is_flag=True, help="Leave out backbones that cannot be used; exit code 1."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print what would be done, and do nothing; with --address, ask the nodes as well.",
)
@click.option(
    "--measure/--no-measure",
    default=True,
    help="In a dry run with --address, run each backbone for 20 seconds there, to tell the hours. "
    "[default: measure]",
)
def launch(
    space_name: str,
    name: str | None,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    data_root: Path,
    weights_dir: Path | None,
    tracking_uri: str | None,
    home: Path | None,
    address: str | None,
    detach: bool,
    retries: int | None,
    local: bool,
    register: bool,
    ledger: str | None,
    keep_going: bool,
    dry_run: bool,
    measure: bool,
) -> None:
    """Run a sweep to its end: search, confirm, compare."""
    from sweep.remote.request import is_remote

    _refuse_an_address(local, address)
    space = load_space_file(space_name, overrides, only, name)
    left_out: list[str] = []
    if keep_going and not is_remote(address):
        from sweep.run.plan import without_unusable

        space, left_out = without_unusable(space, weights_dir)
        for text in left_out:
            click.echo(f"left out: {text}", err=True)
    if dry_run and not is_remote(address):
        from sweep.cli.views.estimate import assumed_places, print_estimate
        from sweep.cli.views.plan import print_plan

        out = console()
        plans, needs = print_plan(space, data_root, weights_dir, tracking_uri, out)
        if address is None:
            print_estimate(plans, assumed_places(plans), out)
        else:  # these modules import ray
            from sweep.cli.views.doctor import absolute_places, refuse
            from sweep.cli.views.nodes import print_nodes

            where = absolute_places(home_of(home), data_root, weights_dir)
            refuse(print_nodes(space, where, address, plans, needs, measure, out))
        if left_out:
            sys.exit(1)
        return
    if is_remote(address):
        begin_on_head(str(address), space.name, space, detach)
        return
    _refuse_detaching(detach)
    outlive_output()
    from sweep.cli.views.progress import TerminalListener
    from sweep.run.api import Places
    from sweep.run.api import launch as run

    places = Places(home, data_root, weights_dir, tracking_uri, address, ledger, local)
    listener = TerminalListener()
    command = _without_paths(space_name, name, overrides, only)
    outcome = run(space, places, listener, 2 if retries is None else retries, command, register)
    _end(outcome, listener, left_out)


@click.command()
@click.argument("name")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="More of it: budget.trials=32, budget.frozen.trials=64, seeds=5.",
)  # fmt: skip
@click.option("--retry-failed", is_flag=True, help="Begin trials that failed anew.")
@click.option(
    "--data-root", type=click.Path(path_type=Path, file_okay=False),
    help="Where the data is now. [default: as launched]",
)  # fmt: skip
@click.option(
    "--weights-dir", type=click.Path(path_type=Path, file_okay=False),
    help="Where the weights are now. [default: as launched]",
)  # fmt: skip
@click.option("--tracking-uri", help="MLflow. [default: as launched]")
@HOME
@CLUSTER
@_DETACH
@_RETRIES
@_LOCAL
def resume(
    name: str,
    overrides: tuple[str, ...],
    retry_failed: bool,
    data_root: Path | None,
    weights_dir: Path | None,
    tracking_uri: str | None,
    home: Path | None,
    address: str | None,
    detach: bool,
    retries: int | None,
    local: bool,
) -> None:
    """Go on with a sweep, on this machine or another; with a larger budget, if you like."""
    from sweep.remote.request import is_remote

    _refuse_an_address(local, address)
    if is_remote(address):
        begin_on_head(str(address), name, None, detach)
        return
    _refuse_detaching(detach)
    outlive_output()
    from sweep.records.home import existing

    existing(home_of(home), name)  # this check comes before imports that take seconds
    from sweep.cli.views.progress import TerminalListener
    from sweep.run.api import Places
    from sweep.run.api import resume as run

    places = Places(home, data_root, weights_dir, tracking_uri, address, local=local)
    listener = TerminalListener()
    _end(run(name, places, listener, retries, overrides, retry_failed), listener)


@click.command()
@click.argument("name")
@click.option("--now", is_flag=True, help="Interrupt it; what is under way loses an epoch or so.")
@HOME
@ADDRESS
@on_the_head
def stop(name: str, now: bool, home: Path | None) -> None:
    """Drain a running sweep: what is under way keeps a checkpoint at its next epoch."""
    from sweep.records.home import existing

    folder = existing(home_of(home), name)
    if now:
        folder.interrupt()
    else:
        folder.ask_to_stop()
        click.echo("waiting for the waves under way to reach their next epoch", err=True)
    folder.wait_until_stopped(60 if now else float("inf"))
    click.echo(f"stopped; go on with: sweep resume {name}")


@click.command()
@click.argument("name", required=False)
@click.option("--watch", is_flag=True, help="Show it again every few seconds, until it ends.")
@HOME
@JSON
@ADDRESS
def status(
    name: str | None, watch: bool, home: Path | None, as_json: bool, address: str | None
) -> None:
    """Show how far a sweep is, how fast, and what failed; or all sweeps."""
    from sweep.remote.request import is_remote

    if watch and (as_json or not name):
        raise SweepError("--watch shows one sweep, in words: sweep status NAME --watch")
    if is_remote(address):
        from sweep.cli.views.status import watch_head

        if watch:
            watch_head(lambda: ask_head(str(address)))
        else:
            ask_head(str(address))
        return
    from sweep.cli.views import status as statusview

    where = home_of(home)
    if as_json:
        click.echo(statusview.as_json(where, name))
    elif watch and name:
        statusview.watch(where, name, console())
    else:
        statusview.print_status(where, name, console())


@click.command("list")
@HOME
@JSON
@ADDRESS
@on_the_head
def list_sweeps(home: Path | None, as_json: bool) -> None:
    """List the sweeps: how far, how large on disk."""
    from sweep.cli.views import status as statusview

    if as_json:
        click.echo(statusview.as_json(home_of(home), None))
    else:
        statusview.print_status(home_of(home), None, console())


@click.command()
@click.argument("name")
@click.argument("cell", required=False)
@HOME
@ADDRESS
@on_the_head
def logs(name: str, cell: str | None, home: Path | None) -> None:
    """Print what happened in a sweep; of a CELL also the tracebacks of its failures."""
    from sweep.cli.views.status import print_log
    from sweep.records.home import existing

    print_log(existing(home_of(home), name), cell)


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@HOME
@ADDRESS
def remove(name: str, yes: bool, home: Path | None, address: str | None) -> None:
    """Delete a sweep's folder: ledger, records, predictions, models. Asks first."""
    from sweep.remote.request import is_remote

    if is_remote(address):
        if not yes:
            _confirm(f"Delete the sweep {name} on {address}?")
        ask_head(str(address), extra=() if yes else ("--yes",))
        return
    from sweep.cli.views.status import what_is_lost
    from sweep.records.home import existing

    folder = existing(home_of(home), name)
    if folder.is_running():
        raise SweepError(f"the sweep {name} is running: stop it first, with: sweep stop {name}")
    if not yes:
        click.echo(what_is_lost(folder))
        _confirm(f"Delete the sweep {name}?")
    folder.remove()
    click.echo(f"removed; MLflow and {'$SWEEP_CACHE'} are as they were")


living = (launch, resume, stop, status, list_sweeps, logs, remove)


def _without_paths(
    space: str, name: str | None, overrides: Sequence[str], only: Sequence[str]
) -> str:
    """Return what was typed to launch a sweep, without folders, which may name patients."""
    words = ["sweep", "launch", "--space", Path(space).name]
    words += ["--name", name] if name else []
    for item in overrides:
        key, _, value = item.partition("=")
        words += ["--set", f"{key}=..." if "/" in value else item]
    for item in only:
        words += ["--only", item]
    return shlex.join(words)


def _confirm(question: str) -> None:
    """Ask a question; raises SweepError if there is nobody to answer, click.Abort for no."""
    try:
        click.confirm(question, abort=True)
    except (click.Abort, RuntimeError):
        if sys.stdin is not None and sys.stdin.isatty():
            raise
        raise SweepError("nobody answered: nothing was deleted; --yes deletes unasked") from None


def _refuse_detaching(detach: bool) -> None:
    if detach:
        raise SweepError("--detach needs a cluster to run on: --address http://HOST:8265")


def _refuse_an_address(local: bool, address: str | None) -> None:
    if local and address:
        raise SweepError(f"--local runs in this process: leave the address {address} out")


def _end(outcome: "Outcome", listener: "TerminalListener", left_out: Sequence[str] = ()) -> None:
    """Print what a sweep has come to, and exit with 1 if it lacks something that was asked for."""
    from sweep.cli.views.outcome import print_outcome

    print_outcome(outcome, listener)
    failures = [*outcome.failures, *left_out]
    for line in failures:
        click.echo(f"failed: {line}", err=True)
    if failures:
        name = outcome.comparison.sweeps[0].name
        click.echo(
            f"look into it with: sweep logs {name} CELL; then: sweep resume {name} --retry-failed",
            err=True,
        )
        sys.exit(1)
