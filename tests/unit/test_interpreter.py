"""A quick exit ends a process as the interpreter would, but sooner."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import atexit, sys, threading, time
from sweep.base.interpreter import quick_exit
"""


def run(body: str, stdout: int | None = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HEAD + body]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(("given", "code"), [("", 0), ("None", 0), ("0", 0), ("7", 7)])
def test_the_exit_code_is_that_of_sys_exit(given: str, code: int) -> None:
    assert run(f"with quick_exit(): sys.exit({given})").returncode == code


def test_a_process_that_ends_without_sys_exit_has_code_0() -> None:
    assert run("with quick_exit(): pass").returncode == 0


def test_exit_handlers_threads_and_buffered_output_are_waited_for() -> None:
    done = run(
        "with quick_exit():\n"
        "    atexit.register(lambda: print('handler'))\n"
        "    threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
        "    print('block')\n"
    )
    assert done.stdout.split() == ["block", "thread", "handler"]


def test_objects_are_not_freed() -> None:
    done = run("class A:\n    def __del__(self): print('freed')\na = A()\nwith quick_exit(): pass")
    assert done.stdout == ""


@pytest.mark.parametrize(("raised", "told"), [("sys.exit('no')", "no"), ("1 / 0", "Zero")])
def test_the_interpreter_tells_all_other_exceptions(raised: str, told: str) -> None:
    done = run(f"with quick_exit(): {raised}")
    assert done.returncode == 1
    assert told in done.stderr


def test_output_that_cannot_be_written_is_told_by_the_interpreter() -> None:
    with Path("/dev/full").open("w") as full:
        done = run("with quick_exit(): print('x')", full.fileno())
    assert done.returncode
    assert "No space left" in done.stderr
