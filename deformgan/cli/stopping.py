"""How a command ends before its time: SIGINT and SIGTERM, and memory that runs out."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

import typer

AGAIN_S = 0.02
CALLED_BACK = ("numba/core/serialize.py", "/weakref.py")  # by kernels that box their result; by the garbage collector
STOPPED = "deformgan: stopped; nothing is left half-written"
OUT_OF_MEMORY = (
    "deformgan: out of memory; nothing is left half-written. Try --preset fast, fewer --threads, or images resampled "
    "to larger voxels"
)
_SAID_OF_MEMORY = (
    "bad_alloc",
    "allocate memory",
    "enough memory",
    "out of memory",
    "failed to allocate",
    "map segment",  # of a library, when it is imported
)
LIBRARIES_BYTES, BYTES_PER_CORE, MOST_CORES = 1_600_000_000, 100_000_000, 64  # address space before any work
_came: list[int] = []


def stop_on_signals() -> None:
    """The first SIGINT or SIGTERM leaves by SystemExit, so that everything half-written is cleared away on the way."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _leave)
        sys.unraisablehook = _unraised


def stopped_by() -> int:
    """The signal that stops this process, 0 for none."""
    return _came[0] if _came else 0


def check_memory_limit() -> None:
    """Exit 1 with a line where `ulimit -v` leaves too little for the libraries: OpenBLAS would wait for it for ever."""
    try:
        import resource
    except ImportError:  # Windows knows no such limit
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    need = LIBRARIES_BYTES + BYTES_PER_CORE * min(MOST_CORES, os.cpu_count() or 1)
    if limit != resource.RLIM_INFINITY and limit < need:
        typer.echo(
            f"deformgan: this process may use {limit / 1e6:.0f} MB of address space (ulimit -v), its libraries alone "
            f"need {need / 1e6:.0f} MB; raise the limit",
            err=True,
        )
        raise typer.Exit(1)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether this, or what it came of, is a want of memory: torch and ITK raise no MemoryError."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(words in text for words in _SAID_OF_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def _stop(number: int, frame: FrameType | None) -> None:
    if _came:  # it is on its way out; a second exit would break off the clearing up
        return
    _came.append(number)
    _leave(number, frame)


def _leave(number: int, frame: FrameType | None) -> None:
    if _called_back(frame):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
    else:
        raise SystemExit(128 + stopped_by())


def _called_back(frame: FrameType | None) -> bool:
    """Whether compiled code waits for this Python code and would not survive an exit of it, or pass it on."""
    while frame is not None and hasattr(signal, "setitimer"):
        if frame.f_code.co_filename.replace(os.sep, "/").endswith(CALLED_BACK):
            return True
        frame = frame.f_back
    return False


def _unraised(what: Any) -> None:
    """An exit that came amid a finaliser, where it ends nothing, is raised once more."""
    if stopped_by() and isinstance(what.exc_value, SystemExit):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
    else:
        sys.__unraisablehook__(what)
