"""The folder of a batch: marked with what it holds, and worked in by one process at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deformgan import __version__
from deformgan.errors import OutputError
from deformgan.io.whole_file import whole_file

MARK, LOCK = "batch.json", ".lock"
FORMAT = "deformgan-batch-1"


@contextmanager
def kept_to_oneself(out: Path, kind: str, spared: tuple[str, ...] = ()) -> Iterator[None]:
    """The folder, made and marked with its kind, such as "manifest"; no other process may work in it meanwhile.

    spared: files that may lie in a folder without a mark.  Raises OutputError.
    """
    from filelock import FileLock, Timeout

    check_folder(out, kind, spared)
    lock = FileLock(out / LOCK, timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"{out}: another batch is at work there; wait for it, or give another --out") from error
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from error
    with lock:
        if not (out / MARK).exists():
            with whole_file(out / MARK) as scratch:
                mark = {"format": FORMAT, "of": kind, "deformgan": __version__}
                scratch.write_text(json.dumps(mark, indent=1) + "\n", encoding="utf-8")
        yield


def check_folder(out: Path, kind: str, spared: tuple[str, ...] = ()) -> None:
    """Raise OutputError where a batch of this kind cannot go into the folder."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; give a folder with --out")
    try:
        mark = json.loads((out / MARK).read_text(encoding="utf-8"))
        if mark["of"] != kind:
            raise OutputError(f"{out} holds the batch of a {mark['of']}; give another --out")
    except FileNotFoundError:
        if out.is_dir() and any(path.name not in (LOCK, *spared) for path in out.iterdir()):
            raise OutputError(f"{out} holds other files; give a new folder with --out") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{out / MARK}: cannot be read; is {out} the folder of a batch?") from error
