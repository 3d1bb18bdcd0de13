"""Arrays kept in files that are mapped into memory, so that a slice costs no more than its own bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deformgan.errors import InputError
from deformgan.io.whole_file import whole_file

ENDING = ".npy"


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Whole or not at all.  Raises OutputError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as scratch, scratch.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def map_array(path: Path) -> np.ndarray[Any, Any]:
    """Read-only, from disk as it is asked for.  Raises InputError for a file that is missing or cut off."""
    try:
        array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a whole array file: {error}") from error
    return array


def is_whole(path: Path) -> bool:
    """Whether `map_array` reads it."""
    try:
        map_array(path)
    except InputError:
        return False
    return True
