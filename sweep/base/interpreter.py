"""How a process that has imported PyTorch, Ray and MLflow ends sooner.

Each of these imports makes hundreds of thousands of objects. benchmarks/startup.py prints what
freeing them one by one takes.
"""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_exit() -> Iterator[None]:
    """End this process, once its exit handlers have run, without freeing its objects, as mypy does.

    The block is all that the process does: exit handlers that are older than it are not run.
    """
    code = 0

    def leave() -> None:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            return  # the interpreter says what is wrong
        os._exit(code)

    atexit.register(leave)  # before all others, so that it runs after them
    try:
        yield
    except BaseException as error:
        if isinstance(error, SystemExit) and isinstance(error.code, int | None):
            code = error.code or 0
        else:
            atexit.unregister(leave)  # the interpreter prints what it is and chooses the code
        raise
