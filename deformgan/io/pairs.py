"""Manifests: which files make a pair.

CSV with a header line, or JSON with a list of objects.  Columns: fixed, moving (files, seen from the manifest's
folder); and, where wanted, fixed_mask, moving_mask, fixed_labels, moving_labels, subject (pairs of one subject stay on
one side of the split; by default every fixed image is a subject) and split (train or validation).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deformgan.errors import InputError
from deformgan.io.formats import source_exists
from deformgan.io.tables import parsed_json, read_table, read_text

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
    pairs = []
    for where, values in table_rows(path, COLUMNS, FILES):
        for name in ("fixed", "moving"):
            if not values[name]:
                raise InputError(f"{where}: {name} is empty")
        if values["split"] not in ("", *SPLITS):
            raise InputError(f"{where}: split must be train or validation, got {values['split']!r}")
        pairs.append(PairFiles(**{**values, "subject": values["subject"] or values["fixed"]}))
    return pairs


def table_rows(
    path: str | os.PathLike[str], columns: Sequence[str], files: Sequence[str]
) -> list[tuple[str, dict[str, str]]]:
    """(where it stands, value of every column, "" where there is none) of each row of a CSV or JSON table.

    files: the columns that name files, made absolute; they must be there.  Raises InputError.
    """
    place = Path(path)
    json_ = place.suffix.lower() == ".json"
    rows: Sequence[Mapping[str, Any]] = _from_json(place, columns) if json_ else read_table(place)
    if not rows:
        example = ",".join(columns[:2])
        raise InputError(f"{place}: no pairs or images; expected a header line such as '{example}' and a line for each")
    first = 1 if json_ else 2
    return [
        (where := f"{place}: row {number}", _values(place, where, row, columns, files))
        for number, row in enumerate(rows, start=first)
    ]


def _from_json(place: Path, columns: Sequence[str]) -> list[Mapping[str, Any]]:
    rows = parsed_json(read_text(place), place)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{place}: expected a list of objects with the keys {', '.join(columns)}")
    return rows


def _values(
    place: Path, where: str, row: Mapping[str, Any], columns: Sequence[str], files: Sequence[str]
) -> dict[str, str]:
    for name in row:
        if name not in columns:
            near = difflib.get_close_matches(str(name), columns, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; the columns are {', '.join(columns)}"
            raise InputError(f"{where}: unknown column {name!r}{hint}")
    values = {name: str(row.get(name) or "").strip() for name in columns}
    for name in files:
        if values[name]:
            file = place.resolve().parent / values[name]
            if not source_exists(str(file)):
                raise InputError(f"{where}: {name}: no such file: {file}")
            values[name] = str(file.resolve())
    return values
