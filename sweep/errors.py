"""What the user did, and what to do about it: every expected failure is a SweepError."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class SweepError(Exception):
    """The input was wrong; the message says what, where, and what to do. Exit code 2."""

    exit_code = 2


class SpaceError(SweepError):
    """The space file, or an option that changes it, cannot be used."""


class DataError(SweepError):
    """A dataset is missing, damaged, or cannot be split as asked."""


class BackboneError(SweepError):
    """A backbone or its weights cannot be used."""


class BusyError(SweepError):
    """Another process is at work on the same sweep."""


class DamagedError(SweepError):
    """A file of a sweep is not what was written there.

    Attributes:
        path: of the file.
        reason: how that is known.
    """

    def __init__(self, path: Path, reason: object, advice: str = "restore it") -> None:
        self.path, self.reason = path, next(iter(str(reason).splitlines()), "")
        super().__init__(f"{path} is damaged ({self.reason}): {advice}")


class Interrupted(SweepError):  # noqa: N818 - an interruption is not an error of the user
    """The sweep was stopped before its end and can be resumed. Exit code 3."""

    exit_code = 3


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return ``"; did you mean a, b?"`` for the names most like `name`, or an empty string."""
    by_lower = {item.lower(): item for item in known}
    matches = get_close_matches(name.lower(), by_lower, n=count, cutoff=0.55)
    return f"; did you mean {', '.join(by_lower[match] for match in matches)}?" if matches else ""


def collect(items: Iterable[Item], work: Callable[[Item], Result]) -> list[Result]:
    """Return what `work` gives for every item.

    Raises SweepError with all their errors as one.
    """
    results, problems = [], []
    for item in items:
        try:
            results.append(work(item))
        except SweepError as error:
            problems.append(str(error))
    if problems:
        raise SweepError("\n".join(dict.fromkeys(problems)))
    return results


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def listing(items: list[str], shown: int = 10) -> str:
    """Return the first `shown` items one per line, and how many more there are."""
    lines = [f"  {item}" for item in items[:shown]]
    if len(items) > shown:
        lines.append(f"  ... and {len(items) - shown} more")
    return "\n".join(lines)


def shorten(items: Sequence[str], shown: int = 10) -> str:
    """Return the first `shown` items in one line, and how many more there are."""
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(items[:shown]) + more
