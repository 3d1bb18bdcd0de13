"""Files by patterns, and what tells whether one has changed."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from deformgan.errors import InputError


def found_files(patterns: Sequence[str]) -> list[str]:
    """All files that fit the patterns, in the order of their names.  Raises InputError for a pattern without any."""
    names: list[str] = []
    for pattern in patterns:
        found = sorted(glob.glob(pattern))
        if not found:
            raise InputError(f"data: no file matches {pattern}")
        names += found
    return names


def stamp(path: str) -> tuple[int, int]:
    """Size and time of the last change.  Raises InputError."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return found.st_size, found.st_mtime_ns
