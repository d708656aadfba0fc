"""Being connected to Ray, on this machine or a cluster, and sharing out what its nodes have."""

import atexit
import logging
import os
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sweep.search.ray.environment  # noqa: F401 - before ray, which reads it

# isort: split
import ray
from ray.autoscaler.sdk import request_resources
from ray.client_builder import ClientContext

from sweep.base.outages import temporary_folder
from sweep.base.processes import cpu_count
from sweep.base.settings import MAX_NODES, WAIT_FOR_NODES, whole_number
from sweep.errors import SweepError
from sweep.search.ray.compat import on_loopback, start_ray
from sweep.search.ray.node_check import unwritable
from sweep.search.ray.nodes import check_nodes, working_nodes
from sweep.search.ray.resources import ModelSize, ResourcePlanner, describe_nodes
from sweep.search.ray.watchdog import Watchdog
from sweep.train.wave import SweepContext

_OBJECT_STORE_BYTES = 256 << 20  # images and features never pass through Ray
_LONGEST_FOLDER = 40  # the path of a socket has at most 107 characters, most of which Ray uses
_CLIENT_ATTEMPTS = 3
_WAIT_FOR_THE_FIRST_S = 600.0

log = logging.getLogger("sweep.search")


@contextmanager
def cluster(
    address: str | None, lost: Callable[[str], None] | None = None, advice: str = ""
) -> Iterator[bool]:
    """Be connected to Ray: to a running cluster, or, without an address, to one on this machine.

    Yields whether the connection goes through Ray's client (``ray://``).

    Args:
        address: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.
        lost, advice: what is to be done when Ray on this machine dies; see `Watchdog`.

    Raises:
        SweepError: the cluster cannot be reached.
    """
    warnings.filterwarnings("ignore", module="ray")
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            _test_connection(address)
            through_client = _connect(address)
        else:
            through_client = False
            with on_loopback():
                start_ray(
                    {"_node_ip_address": "127.0.0.1", "_temp_dir": _short_folder()},
                    address="local",
                    num_cpus=cpu_count(),  # this respects the quota of a container
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=_OBJECT_STORE_BYTES,
                )
    except SystemExit:  # Ray's own handler raises this while it connects
        signal.signal(signal.SIGTERM, on_sigterm)
        signal.raise_signal(signal.SIGTERM)
        raise
    except Exception as error:  # Ray raises many kinds of errors
        raise _unreachable(address, " ".join(str(error).split())[:300]) from None
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray has replaced the handler by its own
    if address or lost is None:
        try:
            yield through_client
        finally:
            _disconnect()
        return
    with Watchdog(lost, advice) as watchdog:
        try:
            yield through_client
        finally:
            watchdog.expect_the_end()
            _disconnect()


def _unreachable(address: str | None, reason: str) -> SweepError:
    if address:
        return SweepError(
            f"cannot reach the Ray cluster at {address}: {reason}; check the address, that `ray "
            "status` works there, and, where the cluster wants a token, that RAY_AUTH_MODE=token "
            "and RAY_AUTH_TOKEN are set"
        )
    why = "; ".join(unwritable(temporary_folder(), "the temporary folder")) or reason
    return SweepError(f"Ray cannot be started on this machine: {why}")


def _disconnect() -> None:
    """End Ray, or the connection to it; what goes wrong then spoils no result."""
    # Otherwise Ray would disconnect again at exit and print a traceback.
    atexit.unregister(ray.shutdown)
    try:
        ray.shutdown()
    except Exception as error:  # the temporary folder is full, or the cluster has ended
        log.warning("Ray has not ended as it should: %s", error)


def _short_folder() -> str | None:
    """Return where Ray keeps its sockets, if the usual folder's name is too long for them."""
    if len(str(temporary_folder())) <= _LONGEST_FOLDER:
        return None
    return f"/tmp/ray-{os.getuid()}"


def plan_resources(
    context: SweepContext, sizes: dict[str, ModelSize], shared: bool, through_client: bool
) -> ResourcePlanner:
    """Look at the nodes of the connected cluster, and share them among the waves.

    Args:
        sizes: of each cell's network, by the cell's name.
        shared: the cluster is not this machine alone.
        through_client: this process is connected by Ray's client.

    Raises:
        SweepError: a node lacks something, or a cell fits no node.
    """
    most = int(whole_number(MAX_NODES, "nodes", 0))
    if shared and not working_nodes():
        _wait_for_the_first(most, through_client)
    nodes = check_nodes(context, shared)
    log.info("nodes: %s", describe_nodes(nodes))
    return ResourcePlanner(nodes, sizes, most_nodes=most)


def _wait_for_the_first(most_nodes: int, through_client: bool) -> None:
    """Wait for a node with CPUs, as an autoscaler may start one when it is asked to."""
    default = _WAIT_FOR_THE_FIRST_S if most_nodes else 0.0
    seconds = whole_number(WAIT_FOR_NODES, "seconds", default)
    if not seconds:
        return  # the connection's own error gives the advice
    text = "no node of the cluster has CPUs yet: waiting up to %.0f s for the first"
    log.warning(text, seconds, extra={"shown": True})
    if not through_client:  # a Ray client cannot list nodes by their labels
        request_resources(bundles=[{"CPU": 1}])
    end = time.monotonic() + seconds
    while not working_nodes() and time.monotonic() < end:
        time.sleep(2.0)


def _connect(address: str) -> bool:
    """Connect to a running cluster; through Ray's client, try again if its server does not start.

    Returns whether the connection goes through Ray's client.

    A client's own server on the head is forked by a process of many threads and now and then
    dies at once (Ray 2.60: "epoll_wait error: Bad file descriptor"); the next one starts.
    """
    for left in reversed(range(_CLIENT_ATTEMPTS)):
        try:
            found = ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            return isinstance(found, ClientContext)
        except ConnectionAbortedError:
            if not left:
                raise
    raise AssertionError("the last attempt returns or raises")


def _test_connection(address: str) -> None:
    """Raise OSError at once if nobody listens there: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=5).close()
