"""Manifests: which files make a pair.

CSV with a header line, or JSON with a list of objects.  Columns: fixed, moving (files, seen from the manifest's
folder); and, where wanted, fixed_mask, moving_mask, fixed_labels, moving_labels, subject (pairs of one subject stay on
one side of the split; by default every fixed image is a subject) and split (train or validation).  `read_rows` takes
further columns too, such as the settings of each pair.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deformgan.errors import InputError, did_you_mean
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
    rows = read_rows(path, there=True)
    return [files if files.subject else replace(files, subject=files.fixed) for _, files, _ in rows]


def read_rows(
    path: str | os.PathLike[str], more: Sequence[str] = (), *, there: bool = False
) -> Iterator[tuple[str, PairFiles, dict[str, str]]]:
    """(where it stands, files, text of every further column that has one) of each pair, in the file's order.

    more: further columns that may be there.  there: every file must exist.  Raises InputError.
    """
    for where, values in table_rows(path, (*COLUMNS, *more), FILES, there=there):
        for name in ("fixed", "moving"):
            if not values[name]:
                raise InputError(f"{where}: {name} is empty")
        if values["split"] not in ("", *SPLITS):
            raise InputError(f"{where}: split must be train or validation, got {values['split']!r}")
        rest = {name: values.pop(name) for name in more}
        yield where, PairFiles(**values), {name: text for name, text in rest.items() if text}


def table_rows(
    path: str | os.PathLike[str], columns: Sequence[str], files: Sequence[str], *, there: bool = True
) -> Iterator[tuple[str, dict[str, str]]]:
    """(where it stands, value of every column, "" where there is none) of each row of a CSV or JSON table.

    files: the columns that name files, made absolute.  there: they must exist.  Raises InputError.
    """
    place = Path(path)
    json_ = place.suffix.lower() == ".json"
    rows: Sequence[Mapping[str, Any]] = _from_json(place, columns) if json_ else read_table(place)
    folder = str(place.resolve().parent)
    for number, row in enumerate(rows, start=1 if json_ else 2):
        where = f"{place}: row {number}"
        values = _texts(where, row, columns)
        for name in files:
            if values[name]:
                values[name] = os.path.normpath(os.path.join(folder, values[name]))
                if there and not source_exists(values[name]):
                    raise InputError(f"{where}: {name}: no such file: {values[name]}")
        yield where, values
    if not rows:
        example = ",".join(columns[:2])
        raise InputError(f"{place}: no pairs or images; expected a header line such as '{example}' and a line for each")


def _from_json(place: Path, columns: Sequence[str]) -> list[Mapping[str, Any]]:
    rows = parsed_json(read_text(place), place)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{place}: expected a list of objects with the keys {', '.join(columns)}")
    return rows


def _texts(where: str, row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, str]:
    for name in row:
        if name not in columns:
            raise InputError(f"{where}: unknown column {name!r}; {did_you_mean(str(name), columns, 'the columns')}")
    return {name: "" if row.get(name) is None else str(row[name]).strip() for name in columns}
