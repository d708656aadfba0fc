"""What ends a sweep before its end, and leaves it to be resumed."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from types import FrameType

from sweep.base.outages import loss_of
from sweep.base.settings import default_cache
from sweep.errors import Interrupted, SweepError
from sweep.records.folder import SweepFolder

log = logging.getLogger("sweep.launch")


@dataclass
class LaunchState:
    """How far a launch has come.

    Attributes:
        stopped: set once the process was told to stop.
        begun: the search has begun, so that whatever ends it now leaves a sweep to be resumed.
        loss: what ends the sweep from outside, once that is known.
    """

    stopped: Event = field(default_factory=Event)
    begun: bool = False
    loss: str | None = None

    def lose(self, what: str) -> None:
        """End the sweep, from another thread, as something that it needs is gone."""
        self.loss = what
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def interruptible(folder: SweepFolder) -> Iterator[LaunchState]:
    """Turn into Interrupted what ends a sweep early, through no fault in it.

    That is Ctrl-C, a scheduler's SIGTERM, a terminal that is closed, a full disk, and, once the
    search has begun, the loss of Ray or of a disk.
    """
    course = LaunchState()

    def stop(signum: int, frame: FrameType | None) -> None:
        if course.stopped.is_set():
            return  # the process is ending; a second signal must not interrupt its end
        course.stopped.set()
        # A thread that finds a loss sends SIGTERM: any other signal comes from outside.
        if course.loss is None or signum != signal.SIGTERM:
            log.info("told to stop by %s", signal.Signals(signum).name)
        raise KeyboardInterrupt

    numbers = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # nohup ignores this signal
        numbers.remove(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    before_hook = sys.unraisablehook
    sys.unraisablehook = partial(_tell_unless_interrupted, before_hook)
    try:
        yield course
    except KeyboardInterrupt:
        if course.loss is not None and folder.exists():
            text = f"{course.loss}; {how_to_go_on(folder.name)}"
        elif folder.exists():
            text = f"interrupted; go on with: sweep resume {folder.name}"
        else:
            text = "interrupted before the sweep was begun; launch it again"
        raise Interrupted(text) from None
    except Exception as error:
        # A full disk may be the cause; the message then names it.
        interrupted = isinstance(error, Interrupted)
        if isinstance(error, SweepError) and not interrupted and course.loss is None:
            raise
        begun = course.begun and not interrupted
        loss = course.loss or loss_of(error, begun, (folder.home, default_cache()))
        if loss is None:
            raise
        if not folder.exists():
            raise SweepError(loss) from None
        raise Interrupted(f"{loss}; {how_to_go_on(folder.name)}") from None
    finally:
        sys.unraisablehook = before_hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell_unless_interrupted(
    tell: Callable[["sys.UnraisableHookArgs"], None], error: "sys.UnraisableHookArgs"
) -> None:
    """Print no traceback of an interruption in a finaliser: `LaunchState` remembers it."""
    if not issubclass(error.exc_type, KeyboardInterrupt):
        tell(error)


def how_to_go_on(name: str) -> str:
    """Say how a sweep that was interrupted goes on."""
    return f"what was done is kept; go on with: sweep resume {name}"
