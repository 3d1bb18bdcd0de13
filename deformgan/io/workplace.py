"""Where output is made before it takes its place: a folder that one process owns and that the next one clears away."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from types import FrameType

from deformgan.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: nothing is refused there, and nothing of others is cleared away
    fcntl = None  # type: ignore[assignment]

HALF, LOCK = ".half", "lock"
SPARE_BYTES = 8 << 20  # of the disk, beside the output itself


@contextmanager
def workplace(target: Path, *, alone: bool = False) -> Iterator[Path]:
    """A new folder beside `target`, `.NAME.xxxxxxxx.half`; it is gone afterwards.

    What processes that were killed left for the same target is removed first.  Missing folders above the target are
    made, and removed if nothing came to lie in them.  Where the target is a folder whose parent is another disk or may
    not be written, the new folder lies in it.
    alone: raise OutputError where another process works on the target.

    Whether a process is alive is told by a lock of the system (flock), which ends with the process however that ends.
    On a file system that knows no locks, nothing is refused and nothing is removed.
    """
    target = target.resolve() if target.is_dir() else target.parent.resolve() / target.name
    home = _home(target)
    missing = [p for p in (home, *home.parents) if not p.exists()]
    own, lock = home / f".{target.name}.{token_hex(8)}{HALF}", -1
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = _taken(own)
        for other in _left(home, target.name, own):
            if not _cleared(other) and alone:
                raise OutputError(
                    f"{target}: another process is writing it; wait for that one, or choose another place with --out "
                    f"(if there is none, remove {other})"
                )
        yield own
    finally:
        if lock >= 0:
            os.close(lock)
        shutil.rmtree(own, ignore_errors=True)
        with suppress(OSError):  # of the first folder that holds something
            for folder in missing:
                folder.rmdir()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """SIGINT and SIGTERM that come while the block runs take effect after it: for steps that belong together."""
    came: list[int] = []

    def later(number: int, frame: FrameType | None) -> None:
        came.append(number)

    if threading.current_thread() is not threading.main_thread():  # only the main thread is interrupted
        yield
        return
    before = {number: signal.signal(number, later) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if came:
            signal.raise_signal(came[0])


def check_space(target: Path, need: int) -> None:
    """Raise OutputError where the disk of `target` has fewer than `need` bytes free."""
    place = next(p for p in (target.absolute(), *target.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < need + SPARE_BYTES:
        raise OutputError(
            f"{place} has {free / 1e6:.0f} MB free, the result may need {(need + SPARE_BYTES) / 1e6:.0f} MB; free some "
            "space, or choose another place with --out"
        )


def reserve(path: Path, need: int) -> None:
    """Make a file of `need` bytes, to be written anew by a library that would not say that the disk is full.

    Raises OSError where there is no room.
    """
    with open(path, "wb") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, need)


def _home(target: Path) -> Path:
    inside = target.is_dir() and (target.is_mount() or not os.access(target.absolute().parent, os.W_OK))
    return target if inside else target.parent


def _taken(own: Path) -> int:
    """Make the folder with a lock in it, held; the open file.  Another process may take it for one left behind."""
    while True:
        own.mkdir(exist_ok=True)
        try:
            lock = os.open(own / LOCK, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            continue
        if _locked(lock) is not False and (own / LOCK).exists():
            return lock
        os.close(lock)


def _left(home: Path, name: str, own: Path) -> list[Path]:
    """The workplaces of others for the target `name`."""
    before, found = f".{name}.", []
    with os.scandir(home) as entries:
        for entry in entries:
            token = entry.name.removeprefix(before).removesuffix(HALF)
            if entry.name == f"{before}{token}{HALF}" and "." not in token and entry.name != own.name:
                found.append(home / entry.name)
    return found


def _cleared(other: Path) -> bool:
    """Remove what a process that is gone has left; False: it lives."""
    try:
        lock = os.open(other / LOCK, os.O_RDWR | os.O_CREAT)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        free = _locked(lock)
        if free:
            shutil.rmtree(other, ignore_errors=True)
        return free is not False
    finally:
        os.close(lock)


def _locked(lock: int) -> bool | None:
    """Take the lock of an open file: whether it was free; None where the file system knows no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
