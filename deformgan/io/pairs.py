"""Manifests: which files make a pair.

CSV with a header line, or JSON with a list of objects.  Columns: fixed, moving (files, seen from the manifest's
folder); and, where wanted, fixed_mask, moving_mask, fixed_labels, moving_labels, subject (pairs of one subject stay on
one side of the split; by default every fixed image is a subject) and split (train or validation).
"""

from __future__ import annotations

import csv
import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deformgan.errors import InputError
from deformgan.io.formats import source_exists

FILES = ("fixed", "moving", "fixed_mask", "moving_mask", "fixed_labels", "moving_labels")
SPLITS = ("train", "validation")
COLUMNS = (*FILES, "subject", "split")


@dataclass(frozen=True)
class PairFiles:
    """One pair; files are absolute, "" where there is none.  split: "" = to be drawn by subject."""

    fixed: str
    moving: str
    fixed_mask: str = ""
    moving_mask: str = ""
    fixed_labels: str = ""
    moving_labels: str = ""
    subject: str = ""
    split: str = ""


def read_manifest(path: str | os.PathLike[str]) -> list[PairFiles]:
    """All pairs, in the file's order.  Raises InputError naming file, row and column; every file must be there."""
    place = Path(path)
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{place}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    rows = _from_json(place, text) if place.suffix.lower() == ".json" else list(csv.DictReader(text.splitlines()))
    if not rows:
        raise InputError(f"{place}: no pairs; expected a header line such as 'fixed,moving' and a line for each pair")
    first = 1 if place.suffix.lower() == ".json" else 2
    return [_pair(place, number, row) for number, row in enumerate(rows, start=first)]


def _from_json(place: Path, text: str) -> list[Mapping[str, Any]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}:{error.lineno}: not JSON: {error.msg}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{place}: expected a list of objects with the keys {', '.join(COLUMNS)}")
    return rows


def _pair(place: Path, number: int, row: Mapping[str, Any]) -> PairFiles:
    where = f"{place}: row {number}"
    for name in row:
        if name not in COLUMNS:
            near = difflib.get_close_matches(str(name), COLUMNS, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; the columns are {', '.join(COLUMNS)}"
            raise InputError(f"{where}: unknown column {name!r}{hint}")
    values = {name: str(row.get(name) or "").strip() for name in COLUMNS}
    for name in ("fixed", "moving"):
        if not values[name]:
            raise InputError(f"{where}: {name} is empty")
    for name in FILES:
        if values[name]:
            values[name] = str((place.resolve().parent / values[name]).resolve())
            if not source_exists(values[name]):
                raise InputError(f"{where}: {name}: no such file: {values[name]}")
    if values["split"] not in ("", *SPLITS):
        raise InputError(f"{where}: split must be train or validation, got {values['split']!r}")
    return PairFiles(**{**values, "subject": values["subject"] or values["fixed"]})
