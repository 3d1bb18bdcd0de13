"""A file appears whole or not at all: it is written under a scratch name in its folder, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deformgan.errors import OutputError


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The scratch name to write to; when the block ends well it becomes `path`, else it is deleted.

    The scratch name has the ending of `path`.  Raises OutputError where the system refuses to write.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise OutputError(f"{target}: its folder does not exist; make it, or choose another with --out")
    scratch = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        yield scratch
        os.replace(scratch, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        if os.access(target.parent, os.W_OK):
            scratch.unlink(missing_ok=True)
