"""What ends a sweep before its end, and leaves it to be resumed."""

import contextlib
import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event
from types import FrameType
from typing import Never

from sweep.cache import default_cache
from sweep.errors import Interrupted, SweepError
from sweep.home import SweepFolder
from sweep.losses import loss_of

log = logging.getLogger("sweep.launch")


@dataclass
class Course:
    """How far a launch has come.

    Attributes:
        stopped: set once the process was told to stop.
        begun: the search has begun, so that whatever ends it now leaves a sweep to be resumed.
    """

    stopped: Event = field(default_factory=Event)
    begun: bool = False


@contextlib.contextmanager
def interruptible(folder: SweepFolder) -> Iterator[Course]:
    """Turn into Interrupted what ends a sweep early, through no fault in it.

    That is Ctrl-C, a scheduler's SIGTERM, a terminal that is closed, a full disk, and, once the
    search has begun, the loss of Ray or of a disk.
    """
    course = Course()

    def stop(signum: int, frame: FrameType | None) -> Never:
        course.stopped.set()
        log.info("told to stop by %s", signal.Signals(signum).name)
        raise KeyboardInterrupt

    numbers = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # by nohup
        numbers.remove(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield course
    except KeyboardInterrupt:
        if folder.exists():
            text = f"interrupted; go on with: sweep resume {folder.name}"
        else:
            text = "interrupted before the sweep was begun; launch it again"
        raise Interrupted(text) from None
    except Exception as error:
        loss = loss_of(error, course.begun, (folder.home, default_cache()))
        if loss is None:
            raise
        if not folder.exists():
            raise SweepError(loss) from None
        text = f"{loss}; what was done is kept; go on with: sweep resume {folder.name}"
        raise Interrupted(text) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
