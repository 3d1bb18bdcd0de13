"""Settings of the whole process, made before torch is loaded."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import NoReturn

SPIN = "20000"  # how long an idle thread of the kernels waits awake; for seconds of work on a machine that others use
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8  # of glibc's mallopt
KEPT_BYTES = 1 << 30


def expect_short_work() -> None:
    """Idle kernel threads soon sleep: a busy machine stays usable."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN)


def leave_at_once(code: int) -> NoReturn:
    """End the process, its files closed, without taking it down piece by piece: that takes 0.5 s."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def expect_long_work() -> None:
    """Threads stay awake, and memory that is freed is kept."""
    if os.environ.get("GOMP_SPINCOUNT") == SPIN:
        del os.environ["GOMP_SPINCOUNT"]
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Blocks that are freed stay with the process, for the next that asks for as much.

    glibc would give each block of a volume's size back and fetch it anew, page by page: a quarter of the time of a
    training step, and of a registration, on a CPU. All threads draw on one stock, or each would keep its own.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            libc.mallopt(option, KEPT_BYTES)
        libc.mallopt(M_TOP_PAD, KEPT_BYTES // 16)
        libc.mallopt(M_ARENA_MAX, 1)
