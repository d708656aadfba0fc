"""`--address http://HOST:8265`: a command that runs on the head of a cluster instead of here."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sweep.errors import Interrupted

if TYPE_CHECKING:
    from sweep.space.model import Space

ADDRESS = click.option(
    "--address",
    envvar="SWEEP_ADDRESS",
    help="A cluster: http://HOST:8265. [default: $SWEEP_ADDRESS, else this machine]",
)
_NOISE = ("Running entrypoint for job ", "Runtime env is setting up.")
_HERE_ALONE = {"address", "detach", "watch", "output", "space_name", "overrides", "only", "name"}
_PATHS = {"home", "data_root", "weights_dir"}


def on_the_head(command: Callable[..., None]) -> Callable[..., None]:
    """Run a command that reads a sweep on the head, if the address is one of its dashboard."""

    @functools.wraps(command)
    def run(*, address: str | None, **parameters: Any) -> None:
        from sweep.remote.request import is_remote

        if is_remote(address):
            ask_head(str(address), parameters.get("output"))
        else:
            command(**parameters)

    return run


def ask_head(address: str, output: Path | None = None, extra: tuple[str, ...] = ()) -> str:
    """Run this command on the head; print what it prints and exit as it does, unless that is 0.

    Args:
        output: the file that it is to write here.
        extra: arguments that the head's command gets, too.

    Returns what it printed.
    """
    from sweep.remote.client import reach
    from sweep.remote.request import Request, environment_here

    context = click.get_current_context()
    arguments = [*_named_options(context), *extra]
    if output:
        arguments += ["--output", "{output}"]
    request = Request(arguments, environment=_environment(environment_here, context))
    answer = reach(address).ask(str(context.info_name), request)
    click.echo(answer.err, err=True, nl=False)
    if output and answer.output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(answer.file())
    click.echo(answer.out.replace("{output}", str(output)), nl=False)
    sys.stdout.flush()
    if answer.code:
        sys.exit(answer.code)
    return answer.out


def begin_on_head(address: str, name: str, space: "Space | None", detach: bool) -> None:
    """Begin or resume a sweep on the head, and follow its log; exit as it does.

    Args:
        space: if it is a launch.
    """
    from sweep.remote.client import reach
    from sweep.remote.request import Request, environment_here
    from sweep.space.imports import imported

    context = click.get_current_context()
    arguments = [*_named_options(context), "--address", "auto"]
    if space is not None:
        arguments += ["--space", "{space}"]
    else:
        arguments += [f"--set={text}" for text in context.params["overrides"]]
    head = reach(address)
    modules = {module.name: module.text for module in imported(space.imports)} if space else {}
    text = space.model_dump_json() if space else None
    request = Request(arguments, text, modules, _environment(environment_here, context))
    job = head.submit(f"{context.info_name} {name}", request)
    live = f"sweep status {name} --address {address}"
    try:
        if detach:
            click.echo(f"submitted as job {job}; it is checked there", err=True)
            ended, log = head.wait_until_begun(job)
            if ended is not None:
                _show(log)
                sys.exit(ended)
            click.echo(f"submitted as job {job}, and begun; see how far it is: {live}")
            return
        click.echo(f"submitted as job {job}; Ctrl-C stops following it, not the sweep", err=True)
        code = head.follow(job, _show)
    except KeyboardInterrupt:
        click.echo(f"\nthe sweep goes on there: {live}; to end it: sweep stop {name}", err=True)
        code = 3
    except Interrupted as lost:
        raise Interrupted(
            f"{lost}: {live}; if its head has died: sweep resume {name} --address {address}, once "
            "it is back"
        ) from None
    if code:
        sys.exit(code)


def _named_options(context: click.Context) -> list[str]:
    """Return this command with its arguments, as they were given; paths are absolute."""
    command = [str(context.info_name)]
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        is_argument = isinstance(parameter, click.Argument)
        if name in _HERE_ALONE and not is_argument:
            continue
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not given or value is None:
            continue
        if is_argument:
            command += [value] if isinstance(value, str) else value
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            flags = parameter.opts if value else parameter.secondary_opts
            command += flags[:1]
        else:
            text = Path(value).absolute() if name in _PATHS else value
            command += [f"{parameter.opts[0]}={text}"]
    return command


def _environment(
    here: Callable[[Path | None], dict[str, str]], context: click.Context
) -> dict[str, str]:
    return here(context.params.get("home"))


def _show(lines: str) -> None:
    kept = [line for line in lines.splitlines() if not any(text in line for text in _NOISE)]
    if kept:
        click.echo("\n".join(kept))
