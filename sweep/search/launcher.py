"""The machines that Ray's cluster launcher was to start, as its file names them."""

import socket
from contextlib import suppress
from pathlib import Path

import psutil
import ray
import yaml

from sweep.search.nodes import ask_all, working_nodes

_OPTION = "--autoscaling-config="


def machines_that_have_not_come() -> list[str]:
    """Return a line if machines of the launcher's file are not among the nodes of the cluster.

    For a file that names its machines (``provider: {type: local}``): a launcher that fails to
    start one says so in its own log alone, and Ray calls the cluster sound.
    """
    addresses = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    answers = ask_all(working_nodes(), named_machines).values()
    named = [name for answer in answers if isinstance(answer, list) for name in answer]
    absent = [name for name in named if not _addresses_of(name) & addresses]
    if not absent:
        return []
    return [
        f"machines of the cluster launcher's file that have not come: {', '.join(absent)}; see "
        "'ray monitor FILE', and docs/deploy-machines.md"
    ]


def named_machines() -> list[str]:
    """Return the workers that the launcher's file names, on the head; elsewhere none."""
    found: list[str] = []
    for process in psutil.process_iter(["cmdline"]):
        for word in process.info["cmdline"] or ():
            if word.startswith(_OPTION):
                with suppress(OSError, yaml.YAMLError, AttributeError):
                    file = Path(word.removeprefix(_OPTION)).expanduser()
                    provider = yaml.safe_load(file.read_text("utf-8")).get("provider", {})
                    found += provider.get("worker_ips") or []
    return list(dict.fromkeys(found))


def _addresses_of(name: str) -> set[str]:
    with suppress(OSError):
        return {name, *socket.gethostbyname_ex(name)[2]}
    return {name}
