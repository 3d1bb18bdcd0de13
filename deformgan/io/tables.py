"""Texts of users, tables (CSV) and documents (JSON) as files; a damaged one is an InputError of one line."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

from deformgan.errors import InputError


def read_text(path: str | os.PathLike[str]) -> str:
    """UTF-8, with or without a mark at its beginning.  Raises InputError."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a name that no file can have
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InputError(f"{path}: cannot be read: {reason}") from error


def read_table(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a CSV with a header line, each by its titles.  Raises InputError."""
    try:
        return list(csv.DictReader(read_text(path).splitlines()))
    except csv.Error as error:
        raise InputError(f"{path}: is not a CSV table: {error}") from error


def parsed_json(text: str, path: str | os.PathLike[str]) -> Any:
    """The document that the text of the file `path` holds.  Raises InputError."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON that can be read: its numbers or its depth are beyond all use") from error
