"""Memory of a process that trains on the CPU: kept between steps, given back between trials."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # constants of malloc.h
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Let this process reuse the memory of one step in the next.

    By default glibc hands every large block back to the kernel when it is freed. A network
    frees and allocates hundreds of megabytes a batch, so that the kernel spends as long on
    clearing pages as the network on computing: benchmarks/frozen_cell.py prints both. Does
    nothing where the C library is not glibc.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
        libc.mallopt(_M_TOP_PAD, 64 << 20)


def release_freed_memory() -> None:
    """Give the memory that is not in use back to the system."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
