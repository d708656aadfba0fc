"""The log of a sweep, for `sweep logs`, and what of it is shown to who launched the sweep."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sweep.errors import Interrupted
from sweep.records.folder import SweepFolder
from sweep.run.listener import Listener

log = logging.getLogger("sweep.launch")


class _NoteHandler(logging.Handler):
    """Shows what is logged with ``extra={"shown": True}`` to who launched the sweep, too."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(logging.WARNING)
        self._listener = listener
        self.addFilter(lambda record: getattr(record, "shown", False))

    def emit(self, record: logging.LogRecord) -> None:
        self._listener.note(self.format(record))


class _LogFile(logging.FileHandler):
    """A log whose disk may be lost, which ends the sweep elsewhere, in words."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Print no traceback."""

    def close(self) -> None:
        """Close the file, whatever becomes of what is still to be written."""
        with suppress(OSError):
            super().close()


@contextmanager
def log_to_folder(folder: SweepFolder, listener: Listener) -> Iterator[None]:
    """Write what happens to a sweep into its log, for `sweep logs`."""
    saying = _NoteHandler(listener)
    handler = _LogFile(folder.path / "sweep.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logger = logging.getLogger("sweep")
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    logger.addHandler(saying)
    try:
        yield
    except Interrupted as error:
        log.warning("interrupted: %s", error)
        raise
    except Exception as error:
        log.error("ends early: %s: %s", type(error).__name__, error)
        raise
    finally:
        logger.removeHandler(saying)
        logger.removeHandler(handler)
        handler.close()
        logger.setLevel(before[0])
        logger.propagate = before[1]
