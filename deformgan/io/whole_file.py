"""A file appears whole or not at all: it is written in a workplace beside it, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deformgan.errors import OutputError
from deformgan.io.workplace import workplace


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The name to write to, which ends as `path` does; when the block ends well the file there becomes `path`.

    Raises OutputError where the system refuses to write.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise OutputError(f"{target}: its folder does not exist; make it, or choose another with --out")
    try:
        with workplace(target) as place:
            scratch = place / target.name
            yield scratch
            with open(scratch, "rb") as stream:
                os.fsync(stream.fileno())  # some disks say only here that they are full
            os.replace(scratch, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
