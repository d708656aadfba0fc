"""Watching over Ray of this machine: without its processes a driver would wait without end.

Where its raylet dies Tune waits for ever; where its GCS dies Ray ends the driver after a minute,
past Python and without a word of how to go on.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import psutil

_LOOK_EVERY_S = 2.0
_GRACE_S = 20.0
_PROCESSES = {"raylet", "gcs_server"}
_EXIT_CODE = 3

log = logging.getLogger("sweep.search")


class Watchdog:
    """Tells, as long as it is entered, that a process of Ray has died; ends a driver that hangs.

    Args:
        lost: called with what was lost; it is to end the sweep in an orderly way.
        advice: printed if that does not end it, and it is ended in another.
    """

    def __init__(self, lost: Callable[[str], None], advice: str) -> None:
        self._lost, self._advice = lost, advice
        self._left, self._expected = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        # All descendants of this process that were ever seen.
        self._below: dict[int, psutil.Process] = {}
        self._watched: list[psutil.Process] = []

    def __enter__(self) -> Self:
        self._look()
        self._watched = [item for item in self._below.values() if _name(item) in _PROCESSES]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self.end_all()

    def expect_the_end(self) -> None:
        """Take it from now on as right that Ray ends."""
        self._look()
        self._expected.set()

    def end_all(self) -> None:
        """End what is left of Ray's processes, also of those whose parents have died."""
        for process in self._below.values():
            with suppress(psutil.Error):  # the process has ended by itself
                if process.is_running():
                    process.kill()

    def _look(self) -> None:
        for child in self._watched or psutil.Process().children():
            if _name(child) in _PROCESSES:
                self._below[child.pid] = child
                with suppress(psutil.Error):
                    self._below |= {item.pid: item for item in child.children(recursive=True)}

    def _run(self) -> None:
        while not self._expected.wait(_LOOK_EVERY_S):
            if any(_is_dead(item) for item in self._watched):
                break
            self._look()
        if self._expected.is_set():
            return
        reason = "Ray on this machine was lost: one of its processes has died or was killed"
        log.error("%s", reason)
        self._lost(reason)
        if not self._left.wait(_GRACE_S):
            sys.stderr.write(f"{reason}; {self._advice}\n")
            sys.stderr.flush()
            self.end_all()
            os._exit(_EXIT_CODE)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _is_dead(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True
