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
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from typing import Any, TypeVar

# Ray reads this variable when it is imported.
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")

import aiohttp
import ray
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from sweep.errors import Interrupted, SweepError, first_line
from sweep.remote.answers import Answer, asking, take_answer
from sweep.remote.request import BEGUN, Request, pack
from sweep.remote.token import auth_headers

Result = TypeVar("Result")

_WAIT_S = 120.0
_RECONNECT_S = 60.0
_ANSWER_S = 30.0
_LOOK_EVERY_S = 15.0
_LOST = (requests.exceptions.RequestException, aiohttp.ClientError, OSError, RuntimeError)
_EXIT_CODES = {1, 2, 3, 70}  # the exit codes of sweep
# The head's Python that has sweep, named by a variable of the environment that started Ray.
_PYTHON = '"${SWEEP_PYTHON:-python}"'
_STARTING = "No available agent"  # Ray's message from a head that has just started
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
        entrypoint = f"{_PYTHON} -m sweep.cli.head {shlex.quote(name)} {pack(request)}"
        wanted = f"sweep-{uuid.uuid4().hex[:12]}"
        end = time.monotonic() + _WAIT_S
        with _explain_errors(self.address):
            while True:
                try:
                    submit = partial(self.client.submit_job, submission_id=wanted)
                    return str(_call_in_time(submit, entrypoint=entrypoint))
                except RuntimeError as error:
                    if _STARTING not in str(error) or time.monotonic() > end:
                        raise
                    time.sleep(1.0)

    def follow(self, job: str, show: Callable[[str], None]) -> int:
        """Show a job's log as it grows; return the exit code of the job.

        A connection that is lost is sought again for a while.

        Raises Interrupted if it is not found again: the sweep may go on there.
        """
        shown = 0
        while True:
            try:
                passed = 0
                for lines in _tail(self.client, job):
                    # After a lost connection Ray sends the log from its start.
                    new = lines[max(0, shown - passed) :]
                    passed += len(lines)
                    shown = max(shown, passed)
                    if new:
                        show(new)
                return self._exit_code(job)
            except _LOST:
                self._wait_for_connection(job)

    def wait_until_begun(self, job: str) -> tuple[int | None, str]:
        """Wait until the sweep of a job has begun; return None, and its log so far.

        If the job has ended before, its exit code instead.

        Raises Interrupted if the connection is lost for a while.
        """
        with _explain_errors(self.address):
            while True:
                try:
                    details = _call_in_time(self.client.get_job_info, job)
                    log = str(_call_in_time(self.client.get_job_logs, job))
                    if details.status.is_terminal():
                        return self._exit_code(job), log
                    if BEGUN in log:
                        return None, log
                except _LOST:
                    self._wait_for_connection(job)
                time.sleep(1.0)

    def _wait_for_connection(self, job: str) -> None:
        end = time.monotonic() + _RECONNECT_S
        while time.monotonic() < end:
            time.sleep(2.0)
            with contextlib.suppress(*_LOST):
                _call_in_time(self.client.get_job_info, job)
                return
        raise Interrupted(
            f"the connection to the head at {self.address} was lost; if it is back, the job {job} "
            "may still run there"
        )

    def ask(self, name: str, request: Request) -> Answer:
        """Run a command to its end; return its answer. Its job is forgotten afterwards."""
        home = Path(request.environment["SWEEP_HOME"])
        with asking(home) as question, _explain_errors(self.address):
            job = self.submit(name, replace(request, question=question))
            self._exit_code(job)
            log = str(_call_in_time(self.client.get_job_logs, job))
            _call_in_time(self.client.delete_job, job)
            try:
                answer = take_answer(home, question, log)
            except OSError as error:
                raise SweepError(f"the head's answer is not in the home: {error}") from None
        if answer is None:
            raise SweepError(f"the head at {self.address} could not run it: {_reason(log)}")
        return answer

    def _exit_code(self, job: str) -> int:
        end = time.monotonic() + _WAIT_S
        while not (details := _call_in_time(self.client.get_job_info, job)).status.is_terminal():
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
            log = str(_call_in_time(self.client.get_job_logs, job))
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
    with _explain_errors(address):
        _refuse_strangers(address)
        return Head(address, JobSubmissionClient(address))


def _refuse_strangers(address: str) -> None:
    """Look at the version before Ray's own client does, which waits long and says little."""
    answer = requests.get(f"{address}/api/version", headers=auth_headers(), timeout=10)
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
def _explain_errors(address: str) -> Iterator[None]:
    """Turn what the network and Ray's client raise into one message."""
    try:
        yield
    except AuthenticationError:
        raise SweepError(f"the head at {address} does not take this token: {_TOKEN_HINT}") from None
    except (requests.exceptions.RequestException, ConnectionError, TimeoutError):
        raise SweepError(
            f"no head answers at {address}: check that it runs ('ray status' there), that its "
            "dashboard is on (pip install 'ray[default]'), and that this machine reaches the port"
        ) from None
    except RuntimeError as error:
        raise SweepError(f"the head at {address} refuses: {first_line(error)[:300]}") from None


def _call_in_time(call: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
    """Call a method of Ray's client, which itself would wait for ever for a head that hangs.

    Raises TimeoutError after half a minute.
    """
    answers: Queue[Future[Result]] = Queue()

    def run() -> None:
        answer: Future[Result] = Future()
        try:
            answer.set_result(call(*arguments, **named))
        except BaseException as error:
            answer.set_exception(error)
        answers.put(answer)

    threading.Thread(target=run, daemon=True).start()
    try:
        return answers.get(timeout=_ANSWER_S).result()
    except Empty:
        raise TimeoutError(f"no answer in {_ANSWER_S:.0f} s") from None


def _tail(client: Any, job: str) -> Iterator[str]:
    """Yield the log of a job as it grows, up to its end.

    Where nothing comes it is asked now and then whether the head still answers: a machine that
    is gone without a word closes no connection.

    Raises what Ray's client raises, and TimeoutError if the head does not answer.
    """
    lines: Queue[str | BaseException | None] = Queue()

    async def read() -> None:
        async for text in client.tail_job_logs(job):
            lines.put(text)

    def run() -> None:
        try:
            asyncio.run(read())
            lines.put(None)
        except BaseException as error:
            lines.put(error)

    threading.Thread(target=run, daemon=True).start()
    while True:
        try:
            item = lines.get(timeout=_LOOK_EVERY_S)
        except Empty:
            _call_in_time(client.get_job_info, job)
            continue
        if item is None:
            return
        if isinstance(item, BaseException):
            raise item
        yield item


def _reason(log: str) -> str:
    if "No module named 'sweep" in log or "No module named sweep" in log:
        return (
            "its Python has no sweep: install the same version on every node, or name the Python "
            "that has it, by SWEEP_PYTHON, where Ray is started there"
        )
    if "not found" in log and "sweep.cli.head" not in log.splitlines()[-1]:
        return "it finds no python: name one by SWEEP_PYTHON where Ray is started there"
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it has left no log"
