"""`sweep doctor`: what this machine or cluster has, and what it lacks."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sweep.backbones import hub
from sweep.base.addresses import without_password
from sweep.base.settings import default_cache, default_tracking_uri
from sweep.data.io.extras import absent
from sweep.errors import SweepError, listing
from sweep.search.ray.connection import cluster
from sweep.search.ray.doctor import CheckedNode, check_cluster, lacking, marked
from sweep.search.ray.node_check import Places
from sweep.tracking.store import trouble


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        tracking_uri: without its password.
        lacks: a line for each thing that every sweep needs and that is not there.
        notes: the same, of what only some sweeps need.
    """

    places: Places
    tracking_uri: str
    nodes: list[CheckedNode]
    lacks: list[str]
    notes: list[str]

    def refuse(self) -> None:
        """Raise SweepError, with all that is lacking, if anything is."""
        refuse(self.lacks)


def diagnose(
    data_root: Path,
    weights_dir: Path | None,
    home: Path,
    tracking_uri: str | None,
    address: str | None,
) -> Diagnosis:
    """Look at this machine, or at each node of the cluster at `address`.

    Raises:
        SweepError: Ray does not start, or the cluster cannot be reached.
        OSError: the home cannot be written to.
    """
    places = absolute_places(home, data_root, weights_dir)
    uri = tracking_uri or default_tracking_uri()
    with marked(places.home) as mark, cluster(address):
        nodes = check_cluster(places, mark)
        lacks = lacking(nodes)
    if reason := trouble(uri):
        lacks.append(f"MLflow at {without_password(uri)}: {reason}")
    return Diagnosis(places, without_password(uri), nodes, lacks, _notes(places))


def refuse(lacks: list[str]) -> None:
    """Raise SweepError, with all that is lacking, if anything is."""
    if lacks:
        raise SweepError(f"something is lacking:\n{listing(lacks, 30)}")


def absolute_places(home: Path, data_root: Path, weights_dir: Path | None) -> Places:
    """Return where a sweep looks and writes, on every node alike."""
    weights = weights_dir.absolute() if weights_dir else None
    return Places(data_root.absolute(), weights, home.absolute(), default_cache().absolute())


def as_json(found: Diagnosis) -> str:
    """Return it as a JSON object."""
    nodes = [
        {
            "node": item.node.id,
            "host": item.node.host,
            "cpus": item.node.cpus,
            **(asdict(item.report) if item.report else {}),
            "lacks": item.lacks,
        }
        for item in found.nodes
    ]
    places = {name: str(place) for name, place in asdict(found.places).items() if place}
    whole = {"places": places, "tracking_uri": found.tracking_uri, "nodes": nodes}
    return json.dumps({**whole, "lacks": found.lacks, "notes": found.notes}, indent=1)


def show(found: Diagnosis, out: Console) -> None:
    """Print it: places, nodes, notes."""
    places = found.places
    for name, place in (
        ("data", places.data_root),
        ("weights", places.weights_dir or "from the hub"),
        ("home", places.home),
        ("cache", f"{places.cache}, where a node has no $SWEEP_CACHE of its own"),
        ("MLflow", found.tracking_uri),
    ):
        out.print(f"{name:8} {place}", highlight=False, markup=False, soft_wrap=True)
    out.print(node_table(found.nodes))
    for note in found.notes:
        out.print(f"Note: {note}", highlight=False, markup=False, soft_wrap=True)
    if not found.lacks:
        out.print("Nothing is lacking that every sweep needs.", highlight=False)


def node_table(nodes: list[CheckedNode]) -> Table:
    """Return a table of what each node has."""
    table = Table()
    for name in ("Node", "CPUs", "Memory", "GPUs", "Free for home", "for cache", "Versions"):
        table.add_column(name, overflow="fold")
    for item in nodes:
        table.add_row(item.node.host, *_row(item))
    return table


def _notes(places: Places) -> list[str]:
    """Return what only some sweeps need, and is not here."""
    notes = absent()
    try:
        hub.require()
    except OSError as error:
        why = error.strerror or error
        hint = "" if places.weights_dir else "; carry them here, with: sweep weights pull"
        notes.append(f"weights cannot be downloaded: {why}{hint}")
    return notes


def _row(item: CheckedNode) -> list[str]:
    found = item.report
    if found is None:
        return [f"{item.node.cpus:g}", "", "", "", "", "no answer"]
    versions = [f"{name} {number}" for name, number in found.versions.items()]
    free = [_gib(found.free_mib[name]) for name in ("home", "cache")]
    gpus = "\n".join(found.gpus) or "none"
    return [f"{item.node.cpus:g}", _gib(found.memory_mib), gpus, *free, "\n".join(versions)]


def _gib(mib: float) -> str:
    return f"{mib / 1024:.0f} GiB"
