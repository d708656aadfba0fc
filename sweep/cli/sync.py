"""`sweep sync` and `sweep verify`: what MLflow has of a sweep, and whether all says the same."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweep.cli.options import HOME, REGISTER, home_of
from sweep.cli.remote import ADDRESS, on_the_head
from sweep.errors import SweepError

if TYPE_CHECKING:  # these modules take seconds to import
    from sweep.records.folder import SweepFolder


@click.command()
@click.argument("name")
@click.option("--all", "everything", is_flag=True, help="Also what was sent, and is lost there.")
@click.option("--models", is_flag=True, help="Also the model of every cell, as a model of MLflow.")
@REGISTER
@HOME
@ADDRESS
@on_the_head
def sync(name: str, everything: bool, models: bool, register: bool, home: Path | None) -> None:
    """Send results to MLflow that could not be sent before, and models."""
    from sweep.records.home import existing

    folder = existing(home_of(home), name)
    from sweep.base.addresses import without_password
    from sweep.tracking.spool import Spool

    folder.refuse_other_name()
    uri = folder.settings().tracking_uri
    if everything:
        folder.mark_all()
    spool = Spool(folder, uri, folder.space().trackers)
    before = spool.waiting()
    spool.send_all()
    left = spool.waiting()
    click.echo(f"{before - left} of {before} results sent to {without_password(uri)}")
    if left:
        raise SweepError(f"{left} results still wait: {spool.error}")
    if models or register:
        _send_models(folder, register, models)


def _send_models(folder: "SweepFolder", register: bool, every: bool) -> None:
    from sweep.run.launch import compared
    from sweep.run.publish import publish, sentences

    if not folder.is_finished():
        raise SweepError(f"{folder.name} is not finished: its models are sent at its end")
    sent = publish(folder, compared(folder), register, every)
    for text in sentences(sent, register):
        click.echo(text, err=True)
    if sent.problems:
        sys.exit(1)


@click.command("verify")
@click.argument("name")
@click.option("--tracking-uri", help="MLflow. [default: as launched]")
@HOME
@ADDRESS
@on_the_head
def verify_command(name: str, tracking_uri: str | None, home: Path | None) -> None:
    """Tell whether records, ledger, MLflow and predictions of a sweep say the same."""
    from sweep.records.home import existing

    folder = existing(home_of(home), name)
    from sweep.run.verify import verify

    found = verify(folder, tracking_uri)
    if not found.all:
        click.echo(f"{name}: {found.records} records, and all that belongs to them says the same")
        return
    for line in found.all:
        click.echo(line)
    if found.files or found.ledger:
        click.echo(f"to run what is missing again: sweep resume {name}", err=True)
    if found.tracking:
        click.echo(f"to send what MLflow lacks: sweep sync {name} --all", err=True)
    sys.exit(1)
