"""What several commands share: their options, how a space is read, the console."""

from pathlib import Path
from typing import Any

import click

from sweep.base.settings import ADDRESS, default_data_root, default_home, default_weights_dir

REGISTER = click.option(
    "--register",
    is_flag=True,
    help="Put the best model of each data set into MLflow's registry, as SWEEP-DATASET.",
)
HOME = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where sweeps are kept. [default: $SWEEP_HOME, else ./sweeps]",
)
DATA_ROOT = click.option(
    "--data-root",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_data_root,
    help="Where relative dataset paths start. [default: $SWEEP_DATA, else this folder]",
)
WEIGHTS_DIR = click.option(
    "--weights-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_weights_dir,
    help="Where weight files are. [default: $SWEEP_WEIGHTS]",
)
SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the space."
)
ONLY = click.option(
    "--only", multiple=True, metavar="AXIS=V[,V]", help="Keep these of dataset, backbone, freeze."
)
TRACKING = click.option(
    "--tracking-uri", help="MLflow. [default: $MLFLOW_TRACKING_URI, else ./mlflow.db]"
)
CLUSTER = click.option(
    "--address",
    envvar=ADDRESS,
    help="Ray cluster: auto, HOST:6379, ray://HOST:10001, or, to submit it as a job, "
    "http://HOST:8265. [default: $SWEEP_ADDRESS, else this machine]",
)
NAMES = click.argument("names", nargs=-1, required=True, metavar="NAME...")
METRIC = click.option("--metric", help="What to rank by. [default: the first sweep's objective]")
MARGIN = click.option(
    "--margin",
    type=float,
    help="A difference that would not matter, if another than the space's. [default: the space's]",
)
AGAINST = click.option(
    "--against", metavar="FILE.csv", type=click.Path(path_type=Path, dir_okay=False),
    help="Published numbers to show beside these, in grey: see docs/published.",
)  # fmt: skip
FROM_URI = click.option(
    "--tracking-uri",
    help="Read from MLflow. [default: where a sweep is not under --home, as for launch]",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def load_space_file(
    name_or_path: str, overrides: tuple[str, ...], only: tuple[str, ...], name: str | None
) -> Any:
    """Read a space by name or path, with ``--set``, ``--only`` and ``--name`` applied."""
    import json

    from sweep.space.file import load_space

    renamed = [f"name={json.dumps(name)}"] if name is not None else []
    return load_space(name_or_path, [*overrides, *renamed], only)


def console() -> Any:
    """Return the console of results: as wide as the terminal, else 120 columns."""
    from rich.console import Console

    out = Console()
    return out if out.is_terminal else Console(width=120)


def home_of(home: Path | None) -> Path:
    """Return the home that is given, else the default."""
    return home or default_home()
