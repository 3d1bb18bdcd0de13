"""How many threads the compiled loops use."""

import os

import numba


def set_threads(count: int) -> int:
    """Use `count` threads, at most as many as numba started with; the number in use."""
    numba.set_num_threads(max(1, min(count, int(os.environ.get("NUMBA_NUM_THREADS", os.cpu_count() or 1)))))
    return int(numba.get_num_threads())


def threads_in_use() -> int:
    """How many threads the compiled loops of this thread use."""
    return int(numba.get_num_threads())
