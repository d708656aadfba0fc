"""The machines that Ray's cluster launcher was to start, as its file names them."""

import socket
from contextlib import suppress
from pathlib import Path

import ray
import yaml

from sweep.search.nodes import ask_all, working_nodes

_FILE = "~/ray_bootstrap_config.yaml"  # where `ray up` puts it


def machines_that_have_not_come() -> list[str]:
    """Return a note if machines of the launcher's file are not among the nodes of the cluster.

    For a file that names its machines (``provider: {type: local}``): a launcher that fails to
    start one says so in its own log alone, and Ray calls the cluster sound. It is no more than a
    note: the file may be of a cluster that was there before.
    """
    addresses = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    answers = ask_all(working_nodes(), named_machines).values()
    named = [name for answer in answers if isinstance(answer, list) for name in answer]
    absent = [name for name in named if not _addresses_of(name) & addresses]
    if not absent:
        return []
    return [
        f"machines that the cluster launcher's file on the head names, and that have not come: "
        f"{', '.join(absent)}; see 'ray monitor FILE', and docs/deploy-machines.md"
    ]


def named_machines() -> list[str]:
    """Return the workers that the launcher's file names, on the head; elsewhere none."""
    with suppress(OSError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        document = yaml.safe_load(Path(_FILE).expanduser().read_text("utf-8"))
        return list(document["provider"].get("worker_ips") or [])
    return []


def _addresses_of(name: str) -> set[str]:
    with suppress(OSError):
        return {name, *socket.gethostbyname_ex(name)[2]}
    return {name}
