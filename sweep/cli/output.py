"""Output that nobody takes any more, as a pipe's reader has left, or that lacks a letter."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

_NOBODY_READS = {errno.EPIPE, errno.EIO}


class TolerantStream:
    """A text stream that falls silent instead of failing once nobody reads it.

    Attributes:
        all: it forgives any other error, too, such as a full disk.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.all = stream, False

    def write(self, text: str) -> int:
        """Write a text, or do nothing; what the encoding lacks is written as its number."""
        try:
            self._try(lambda: self._stream.write(text))
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            plain = text.encode(encoding, "backslashreplace").decode(encoding)
            self._try(lambda: self._stream.write(plain))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or forget it."""
        self._try(self._stream.flush)

    def _try(self, action: Any) -> None:
        try:
            action()
        except OSError as error:
            if not (self.all or error.errno in _NOBODY_READS):
                raise
            # Python flushes the buffer at exit and needs a place to write it to.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def forgiving_output() -> Iterator[None]:
    """Let nothing end because nobody reads what it prints."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _forgiving(out), _forgiving(err)
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout, sys.stderr = out, err


def outlive_output() -> None:
    """Go on whatever becomes of the output, also if it goes to a file on a full disk."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TolerantStream):
            stream.all = True


def _forgiving(stream: Any) -> Any:
    return (
        stream if stream is None or isinstance(stream, TolerantStream) else TolerantStream(stream)
    )
