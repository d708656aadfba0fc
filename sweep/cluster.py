"""A sweep on a cluster somewhere else, through Ray's Jobs API.

Every command is sent to the head and runs there as a job: it finds the sweep's home, and what
it prints comes back. Nothing but the address, and the token where the cluster wants one, has
to be known here.
"""

import asyncio
import contextlib
import logging
import os
import shlex
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

# Read by Ray when it is imported.
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")

import aiohttp
import ray
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from sweep.errors import Interrupted, SweepError
from sweep.request import BEGUN, Answer, Request, found_answer, packed

_WAIT_S = 120.0
_RECONNECT_S = 60.0
_LOST = (requests.exceptions.RequestException, aiohttp.ClientError, OSError, RuntimeError)
_EXIT_CODES = {1, 2, 3, 70}  # of sweep
# The Python that runs Ray on the head, wherever that is: it has mapped Ray's library.
_PYTHON = (
    r"$(sed -n 's|.* \(/.*\)/lib/python[0-9.]*/site-packages/ray/_raylet.so$|\1/bin/python|p' "
    r"/proc/$PPID/maps | grep -m1 . || echo python)"
)
_TOKEN_HINT = (
    "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to the cluster's "
    "token ('ray get-auth-token' on its head prints it)"
)


@dataclass(frozen=True)
class Head:
    """A head that answers; see `reach`."""

    address: str
    client: Any

    def submit(self, name: str, request: Request) -> str:
        """Begin a job; return its id.

        Args:
            name: what it is, for people who read the dashboard.
        """
        entrypoint = f"{_PYTHON} -m sweep.remote {shlex.quote(name)} {packed(request)}"
        wanted = f"sweep-{uuid.uuid4().hex[:12]}"
        with _told(self.address):
            job: str = self.client.submit_job(entrypoint=entrypoint, submission_id=wanted)
        return job

    def follow(self, job: str, show: Callable[[str], None]) -> int:
        """Show a job's log as it grows; return the exit code of the job.

        A connection that is lost is sought again for a while.

        Raises Interrupted if it is not found again: the sweep may go on there.
        """
        shown = 0

        async def read() -> None:
            passed = 0
            async for lines in self.client.tail_job_logs(job):
                nonlocal shown
                new = lines[max(0, shown - passed) :]  # after a loss it begins anew
                passed += len(lines)
                shown = max(shown, passed)
                if new:
                    show(new)

        while True:
            try:
                asyncio.run(read())
                return self._exit_code(job)
            except _LOST:
                self._wait_for_connection(job)

    def wait_until_begun(self, job: str) -> tuple[int | None, str]:
        """Wait until the sweep of a job has begun; return None, and its log so far.

        If the job has ended before, its exit code instead.
        """
        with _told(self.address):
            while True:
                details = self.client.get_job_info(job)
                log = str(self.client.get_job_logs(job))
                if details.status.is_terminal():
                    return self._exit_code(job), log
                if BEGUN in log:
                    return None, log
                time.sleep(1.0)

    def _wait_for_connection(self, job: str) -> None:
        end = time.monotonic() + _RECONNECT_S
        while time.monotonic() < end:
            try:
                self.client.get_job_info(job)
                return
            except _LOST:
                time.sleep(2.0)
        raise Interrupted(
            f"the connection to the head at {self.address} was lost; if it is back, the job {job} "
            "may still run there"
        )

    def ask(self, name: str, request: Request) -> Answer:
        """Run a command to its end; return its answer. Its job is forgotten afterwards."""
        job = self.submit(name, request)
        with _told(self.address):
            self._exit_code(job)
            log = str(self.client.get_job_logs(job))
            self.client.delete_job(job)
        answer = found_answer(log)
        if answer is None:
            raise SweepError(f"the head at {self.address} could not run it: {_reason(log)}")
        return answer

    def _exit_code(self, job: str) -> int:
        end = time.monotonic() + _WAIT_S
        while not (details := self.client.get_job_info(job)).status.is_terminal():
            if details.status == JobStatus.PENDING and time.monotonic() > end:
                raise SweepError(
                    f"the head at {self.address} has not begun the job {job} in {_WAIT_S:.0f} s: "
                    f"see 'ray job status {job}' there"
                )
            time.sleep(0.2)
        if details.status == JobStatus.SUCCEEDED:
            return 0
        code = details.driver_exit_code
        if code not in _EXIT_CODES:
            log = str(self.client.get_job_logs(job))
            raise SweepError(
                f"the job {job} on {self.address} ended early ({details.status.value}): "
                f"{_reason(log)}"
            )
        return int(code)


logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)
logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)


def reach(address: str) -> Head:
    """Return the head at ``http://HOST:8265``.

    Raises SweepError: nobody answers, it is not Ray's dashboard, it wants another token, or
    its Ray is not the one that is installed here.
    """
    address = address.rstrip("/")
    with _told(address):
        _refuse_strangers(address)
        return Head(address, JobSubmissionClient(address))


def _refuse_strangers(address: str) -> None:
    """Look at the version before Ray's own client does, which waits long and says little."""
    from ray._private.authentication.http_token_authentication import (
        get_auth_headers_if_auth_enabled,
    )

    headers = get_auth_headers_if_auth_enabled({})
    answer = requests.get(f"{address}/api/version", headers=headers, timeout=10)
    if answer.status_code in {401, 403}:
        lacking = "wants a token" if answer.status_code == 401 else "does not take this token"
        raise SweepError(f"the head at {address} {lacking}: {_TOKEN_HINT}")
    try:
        theirs = str(answer.json()["ray_version"])
    except (ValueError, KeyError, TypeError):
        raise SweepError(
            f"what answers at {address} is not Ray's dashboard (HTTP {answer.status_code}): give "
            "the address that 'ray start --head' prints, usually http://HOST:8265"
        ) from None
    if theirs != ray.__version__:
        raise SweepError(
            f"Ray {ray.__version__} here, {theirs} at {address}: install the same "
            f"(pip install 'ray=={theirs}')"
        )


@contextlib.contextmanager
def _told(address: str) -> Iterator[None]:
    """Turn what the network and Ray's client raise into one message."""
    try:
        yield
    except AuthenticationError:
        raise SweepError(f"the head at {address} does not take this token: {_TOKEN_HINT}") from None
    except (requests.exceptions.RequestException, ConnectionError):
        raise SweepError(
            f"no head answers at {address}: check that it runs ('ray status' there), that its "
            "dashboard is on (pip install 'ray[default]'), and that this machine reaches the port"
        ) from None
    except RuntimeError as error:
        first_line = str(error).splitlines()[0][:300]
        raise SweepError(f"the head at {address} refuses: {first_line}") from None


def _reason(log: str) -> str:
    if "No module named 'sweep" in log or "No module named sweep" in log:
        return "sweep is not installed there: install the same version on every node"
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it has left no log"
