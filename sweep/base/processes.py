"""Work in other processes, which may die: loky's, which need no main guard."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from typing import Any, TypeVar

import loky

Result = TypeVar("Result")

_IDLE_S = 300  # a process that waits longer than this for work ends itself


def cpu_count() -> int:
    """Return how many CPUs this process may use, also in a container with a quota."""
    return int(loky.cpu_count())


def run_unordered(
    work: Callable[..., Result], arguments: Sequence[tuple[Any, ...]], processes: int
) -> Iterator[Result]:
    """Yield what `work` returns for each of the arguments, as soon as it is there.

    Args:
        processes: 1 for this process itself, which dies where the work does.

    Raises:
        concurrent.futures.process.BrokenProcessPool: a process was killed, or has crashed.
    """
    if processes == 1:
        yield from (work(*each) for each in arguments)
        return
    with warnings.catch_warnings():
        # loky replaces a process whose memory has grown; no work is lost.
        warnings.filterwarnings("ignore", "A worker stopped")
        futures = _submit(work, arguments, processes)
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def run_ordered(
    work: Callable[..., Result], arguments: Sequence[tuple[Any, ...]], processes: int
) -> list[Result]:
    """Return what `work` returns for each of the arguments, in their order.

    Raises what `run_unordered` raises.
    """
    numbered = [(work, index, each) for index, each in enumerate(arguments)]
    found = dict(run_unordered(_numbered, numbered, processes))
    return [found[index] for index in range(len(numbered))]


def end_processes() -> None:
    """End all processes at once; they would wait minutes for more, and hold their memory."""
    loky.get_reusable_executor().shutdown(wait=False, kill_workers=True)


def _submit(
    work: Callable[..., Result], arguments: Sequence[tuple[Any, ...]], processes: int
) -> list[Future[Result]]:
    threads = str(max(1, cpu_count() // processes))
    pool = loky.get_reusable_executor(
        max_workers=processes, timeout=_IDLE_S, env={"OMP_NUM_THREADS": threads}
    )
    return [pool.submit(work, *each) for each in arguments]


def _numbered(
    work: Callable[..., Result], index: int, arguments: tuple[Any, ...]
) -> tuple[int, Result]:
    return index, work(*arguments)
