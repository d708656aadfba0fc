"""What ends a sweep from outside is told in words; a fault of its own is not taken for that."""

import errno
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.base import outages as losses
from sweep.base.outages import loss_of
from sweep.errors import Interrupted
from sweep.records.folder import SweepFolder
from sweep.run.interruption import interruptible


def raised_from(cause: BaseException) -> BaseException:
    """Return an error as Ray or SQLAlchemy wraps one: the number of the cause is lost."""
    error = RuntimeError(f"wrapped: {cause}")
    error.__cause__ = cause
    return error


def test_a_full_disk_is_named_by_the_folder_that_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, cache = tmp_path / "home", tmp_path / "cache"
    for folder in (home, cache):
        folder.mkdir()
    usage = losses.shutil.disk_usage(tmp_path)

    def disk_usage(folder: Path) -> object:
        return usage._replace(free=0 if folder == cache else 1 << 40)

    monkeypatch.setattr(losses.shutil, "disk_usage", disk_usage)
    for error in (OSError(errno.ENOSPC, "No space left on device"),
                  RuntimeError("database or disk is full")):  # fmt: skip
        assert loss_of(raised_from(error), False, (home, cache)) == (
            f"no space left in {cache}: free some"
        )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error", "/home/x"), "/home/x cannot be used any more"),
        (ConnectionError("no answer"), "Ray was lost: no answer"),
        (RuntimeError("Failed to connect to GCS"), "Ray was lost"),
        (PermissionError(errno.EACCES, "Permission denied", "/home/x"), "Permission denied"),
    ],
)
def test_a_loss_interrupts_once_the_search_has_begun(error: Exception, said: str) -> None:
    assert said in str(loss_of(raised_from(error), True, ()))
    assert loss_of(error, False, ()) is None


def test_an_interruption_within_a_finaliser_prints_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Late:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    with (
        pytest.raises(Interrupted, match="interrupted before"),
        interruptible(SweepFolder(tmp_path, "s")) as course,
    ):
        Late()
        assert course.stopped.is_set()
        raise KeyboardInterrupt  # as the display does, which looks at it
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError("x"), ZeroDivisionError()])
def test_a_fault_is_no_loss(error: Exception) -> None:
    assert loss_of(error, True, ()) is None


def ended(folder: SweepFolder, begun: bool, action: Callable[[], None]) -> str:
    """Return what an action that ends a sweep is turned into."""
    with pytest.raises(Interrupted) as told, interruptible(folder) as course:
        course.begun = begun
        action()
    return str(told.value)


def test_what_is_lost_is_told_with_how_to_go_on(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "s")
    folder.path.mkdir()
    (folder.path / "launch.json").touch()

    def lose() -> None:
        raise OSError(errno.EIO, "Input/output error", "/disk")

    told = ended(folder, True, lose)
    assert told.startswith("/disk cannot be used any more")
    assert told.endswith("what was done is kept; go on with: sweep resume s")
