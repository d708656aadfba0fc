"""Waiting for a database that somebody else has locked, or that is being started again."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

WAIT_S = 300.0
_PAUSE_S = 1.0
_TELL_EVERY_S = 30.0
_BUSY = (
    "database is locked",  # SQLite, while a viewer, a backup or VACUUM runs
    "database table is locked",
    "could not obtain lock",  # PostgreSQL
    "the database system is starting up",
    "the database system is shutting down",
    "Connection refused",
    "connection refused",
    "terminating connection",
    "server closed the connection",
    "connection has been closed",
    "the connection is closed",
    "connection already closed",
    "consuming input failed",
)

log = logging.getLogger("sweep.search")


def retry_while_busy(work: Callable[[], Result]) -> Result:
    """Return what `work` returns; while it finds the database busy, try it again for minutes.

    `work` must leave nothing behind when it raises, as a transaction does; or, where a connection
    breaks at its very end, find out when it is called again.

    Raises whatever `work` raises, at last.
    """
    began = logged = time.monotonic()
    while True:
        try:
            return work()
        except Exception as error:
            now = time.monotonic()
            if not is_busy(error) or now - began > WAIT_S:
                raise
            if logged == began or now - logged > _TELL_EVERY_S:
                logged = now
                line = " ".join(str(error.__cause__ or error).split())[:120]
                log.warning("waiting for the ledger, up to %.0f s: %s", WAIT_S, line)
            time.sleep(_PAUSE_S)


def is_busy(error: BaseException) -> bool:
    """Tell whether a database, by the text of its error, will be there again in a while."""
    texts = (str(error), str(error.__cause__ or ""))
    return any(sign in text for sign in _BUSY for text in texts)
