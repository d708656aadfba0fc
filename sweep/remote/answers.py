"""Answers of a head: files in the home, where this machine has the home, too; else lines of a log.

A machine that asks leaves a mark in its home. A head that finds the mark in its own home has the
same one, and writes its answer beside the mark.
"""

import base64
import json
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweep.base.atomic import write_text

_FOLDER = ".answers"  # subfolder of the home
_IN_LOG = "sweep-answer:"
_IN_HOME = "sweep-answer-in-home:"
_FORGOTTEN_S = 86400.0  # older answers belong to clients that died before they read them
_VISIBLE_S = 60.0  # a network file system may show a new file this much later


@dataclass(frozen=True)
class Answer:
    """What a command printed on the head, its exit code, and the file it wrote, if any."""

    code: int
    out: str
    err: str
    output: str | None = None  # encoded in base64

    def file(self) -> bytes:
        """Return the file that the command wrote."""
        return base64.b64decode(self.output or "")


@contextmanager
def asking(home: Path) -> Iterator[str]:
    """Yield the name of a question, for which an answer may be written into the home."""
    name = uuid.uuid4().hex
    if not home.is_dir():
        yield name
        return
    folder = home / _FOLDER
    with suppress(OSError):  # the home is not writable, so the answer goes to the job's log
        folder.mkdir(exist_ok=True)
        _forget_old(folder)
        _mark(home, name).touch()
    try:
        yield name
    finally:
        for path in (_mark(home, name), _file(home, name)):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()  # the folder is deleted unless it holds another client's answers


def give_answer(home: Path, question: str, answer: Answer) -> str:
    """Write an answer into the home if that is where it was asked; return the line to print."""
    text = json.dumps(asdict(answer))
    if _mark(home, question).is_file():
        with suppress(OSError):
            write_text(_file(home, question), text)
            return f"{_IN_HOME}{question}"
    return f"{_IN_LOG}{base64.b64encode(zlib.compress(text.encode())).decode()}"


def take_answer(home: Path, question: str, log: str) -> Answer | None:
    """Return the answer that the log of a job has, or says to be in the home; None if none.

    Raises OSError if it is not in the home.
    """
    for line in reversed(log.splitlines()):
        _, mark, word = line.partition(_IN_LOG)
        if mark:
            return _answer(zlib.decompress(base64.b64decode(word)).decode())
        if f"{_IN_HOME}{question}" in line:
            return _answer(_read(_file(home, question)))
    return None


def _answer(text: str) -> Answer:
    values: dict[str, Any] = json.loads(text)
    return Answer(**values)


def _read(path: Path) -> str:
    end = time.monotonic() + _VISIBLE_S
    while not path.is_file() and time.monotonic() < end:
        list(path.parent.glob("*"))  # listing the folder refreshes the cache of NFS
        time.sleep(0.2)
    return path.read_text("utf-8")


def _forget_old(folder: Path) -> None:
    for path in folder.iterdir():
        if time.time() - path.stat().st_mtime > _FORGOTTEN_S:
            path.unlink(missing_ok=True)


def _mark(home: Path, question: str) -> Path:
    return home / _FOLDER / f"{question}.asked"


def _file(home: Path, question: str) -> Path:
    return home / _FOLDER / f"{question}.json"
