"""Landmarks as files: CSV, and Slicer's .fcsv and .mrk.json; inside, points are always LPS mm.

A file says whether its numbers are LPS or RAS.  A CSV does so by the names of its columns (x_lps, y_lps, z_lps or
x_ras, ...); one with plain x, y, z needs to be told.  The order of the columns does not matter, and a column `name` or
`label` holds the names.  Formats of Slicer: "CoordinateSystem = 0" of old .fcsv files is RAS, 1 is LPS.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError, OutputError
from deformgan.io.tables import parsed_json, read_text
from deformgan.io.volume import RAS_LPS
from deformgan.io.whole_file import whole_file

Space = Literal["LPS", "RAS"]

_TABLES = (".csv", ".tsv", ".txt")
_MARKUPS = (".mrk.json", ".json")
_ENDINGS = (*_TABLES, ".fcsv", *_MARKUPS)
_NAMES = ("name", "label")
_FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_FCSV_SYSTEMS: dict[str, Space] = {"0": "RAS", "RAS": "RAS", "1": "LPS", "LPS": "LPS"}
_POINT_MARKUPS = ("Fiducial", "Line", "Angle", "Curve", "ClosedCurve")
_SCHEMA = (  # Slicer knows its format by this text
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


@dataclass(frozen=True, eq=False)
class Landmarks:
    """`points` (N, 3) float64, LPS mm, x y z, and their `names`, which may be empty texts.

    Raises InputError for another shape, for values that are not finite, or another number of names.
    """

    points: NDArray[np.float64]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        points = np.array(self.points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise InputError(f"points must be (N, 3), x y z in mm, got {points.shape}")
        names = tuple(str(name) for name in self.names)
        if len(names) != len(points):
            raise InputError(f"{len(points)} points have {len(names)} names; give one each")
        if not np.isfinite(points).all():
            row = int(np.flatnonzero(~np.isfinite(points).all(1))[0])
            raise InputError(f"point {row + 1} ({names[row]!r}) has a coordinate that is not finite")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "names", names)


@dataclass(frozen=True)
class _Table:
    """The rows of a text table: lines above it, which columns hold what, and in which space."""

    above: list[str]
    rows: list[list[str]]
    columns: tuple[int, int, int]
    name: int | None
    space: Space
    delimiter: str


def read_landmarks(path: str | os.PathLike[str], *, space: str | None = None) -> Landmarks:
    """The landmarks of a .csv, .fcsv or .mrk.json file.

    space: LPS or RAS, for a CSV whose columns are plain x, y, z; refused where it contradicts the file.
    Raises InputError with one line that names the file.
    """
    source = Path(path)
    ending = _ending(source, InputError)
    text = _text(source)
    try:
        if ending in _MARKUPS:
            points, names = _of_markups(_document(text, source), _space(space))
        else:
            table = _table(text, ending, _space(space))
            points = [_numbers([row[c] for c in table.columns], row) for row in table.rows]
            names = [row[table.name] if table.name is not None else "" for row in table.rows]
            points = [_flipped(point, table.space) for point in points]
        return Landmarks(np.array(points, dtype=np.float64).reshape(-1, 3), tuple(names))
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(str(source)) else f"{source}: {error}") from error
    except csv.Error as error:
        raise InputError(f"{source}: is not a table: {error}") from error


def write_landmarks(
    landmarks: Landmarks,
    path: str | os.PathLike[str],
    *,
    space: str | None = None,
    template: str | os.PathLike[str] | None = None,
) -> None:
    """Write .csv, .fcsv or .mrk.json; the file appears whole or not at all.

    space: LPS (default) or RAS, of the numbers in the file, which says so.  template: a file of the same format with as
    many points, of which everything but the coordinates is kept, its space included.  Raises OutputError, and
    InputError for a template that does not fit.
    """
    target = Path(path)
    ending = _ending(target, OutputError)
    if template is not None and _kind(_ending(Path(template), InputError)) == _kind(ending):
        try:
            text = _refilled(landmarks, Path(template), ending, _space(space))
        except InputError as error:
            raise InputError(f"{template}: {error}") from error
    else:
        text = _fresh(landmarks, ending, _space(space) or "LPS")
    with whole_file(target) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="")


def _kind(ending: str) -> str:
    return "table" if ending in _TABLES else "markups" if ending in _MARKUPS else ending


def _ending(path: Path, error: type[InputError] | type[OutputError]) -> str:
    for ending in _ENDINGS:
        if path.name.lower().endswith(ending):
            return ending
    raise error(f"{path}: landmarks are kept in {', '.join(_ENDINGS)}; rename or convert the file")


def _text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return read_text(path)


def _space(text: str | None) -> Space | None:
    if text is None:
        return None
    if text.upper() not in ("LPS", "RAS"):
        raise InputError(f"space must be LPS or RAS, got {text!r}")
    return "LPS" if text.upper() == "LPS" else "RAS"


def _agreed(own: Space, told: Space | None) -> Space:
    if told not in (None, own):
        raise InputError(f"the file says {own}, but {told} was asked for; leave --space out")
    return own


def _flipped(point: Any, space: Space) -> NDArray[np.float64]:
    """A point between LPS and `space`; the flip is its own inverse."""
    values = np.asarray(point, np.float64)
    return values if space == "LPS" else RAS_LPS[:3, :3] @ values


def _numbers(values: list[str], row: object) -> list[float]:
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError, OverflowError) as error:
        shown = str(row)[:80]
        raise InputError(f"expected three numbers (decimal point, not comma), found {shown}") from error


def _table(text: str, ending: str, told: Space | None) -> _Table:
    lines = text.splitlines()
    above = [line for line in lines if line.startswith("#")]
    body = [line for line in lines if line.strip() and not line.startswith("#")]
    if ending == ".fcsv":
        return _fcsv(above, body, told)
    if not body:
        raise InputError("the file is empty; expected a header line such as name,x_lps,y_lps,z_lps")
    delimiter = max(",;\t", key=body[0].count)
    header, *rows = csv.reader(body, delimiter=delimiter, skipinitialspace=True)
    titles = [title.strip().lower() for title in header]
    name = next((titles.index(n) for n in _NAMES if n in titles), None)
    found = next((s for s in ("_lps", "_ras", "") if all(axis + s in titles for axis in "xyz")), None)
    if found is None:
        raise InputError(f"expected columns x_lps, y_lps, z_lps (or x_ras, ..., or x, y, z), found {', '.join(header)}")
    space = _agreed("LPS" if found == "_lps" else "RAS", told) if found else told
    if space is None:
        raise InputError("columns x, y, z do not tell LPS from RAS; say which with --space LPS or --space RAS")
    columns = titles.index("x" + found), titles.index("y" + found), titles.index("z" + found)
    return _Table([*above, body[0]], _whole(rows, len(header)), columns, name, space, delimiter)


def _fcsv(above: list[str], body: list[str], told: Space | None) -> _Table:
    matches = [re.match(r"#\s*(\w+)\s*=\s*(.*?)\s*$", line) for line in above]
    stated: dict[str, str] = {match[1]: match[2] for match in matches if match}
    system = stated.get("CoordinateSystem")
    if system is not None and system.upper() not in _FCSV_SYSTEMS:
        raise InputError(f"CoordinateSystem = {system} is not supported; save it in Slicer as LPS or RAS")
    own = told if system is None else _agreed(_FCSV_SYSTEMS[system.upper()], told)
    if own is None:
        raise InputError("no line '# CoordinateSystem = ...'; say which with --space LPS or --space RAS")
    titles = stated.get("columns", _FCSV_COLUMNS).split(",")
    if not {"x", "y", "z"} <= set(titles):
        raise InputError(f"expected columns x, y, z, found {', '.join(titles)}")
    columns = titles.index("x"), titles.index("y"), titles.index("z")
    name = titles.index("label") if "label" in titles else None
    return _Table(above, _whole(list(csv.reader(body)), max(*columns, name or 0) + 1), columns, name, own, ",")


def _whole(rows: list[list[str]], width: int) -> list[list[str]]:
    for number, row in enumerate(rows, start=1):
        if len(row) < width:
            raise InputError(f"row {number} has {len(row)} of {width} columns: {','.join(row)}")
    return rows


def _document(text: str, path: Path) -> dict[str, Any]:
    document = parsed_json(text, path)
    if not isinstance(document, dict) or not isinstance(document.get("markups"), list):
        raise InputError("has no list 'markups'; expected a markups file of Slicer")
    return document


def _control_points(document: dict[str, Any], told: Space | None) -> Iterator[tuple[dict[str, Any], Space]]:
    """Each control point that has a position, and its space."""
    for markup in document["markups"]:
        listed = markup.get("controlPoints") or [] if isinstance(markup, dict) else None
        if not isinstance(listed, list) or not all(isinstance(point, dict) for point in listed):
            raise InputError("expected markups with a list 'controlPoints' of objects; the file is damaged")
        if (kind := markup.get("type", "Fiducial")) not in _POINT_MARKUPS:
            raise InputError(f"a markup of type {kind} is not a set of points; expected {', '.join(_POINT_MARKUPS)}")
        system = str(markup.get("coordinateSystem", "LPS")).upper()
        if system not in _FCSV_SYSTEMS:
            raise InputError(f"coordinateSystem {system} is not supported; save it in Slicer as LPS or RAS")
        for point in listed:
            if point.get("positionStatus", "defined") == "defined":
                yield point, _agreed(_FCSV_SYSTEMS[system], told)


def _of_markups(document: dict[str, Any], told: Space | None) -> tuple[list[Any], list[str]]:
    points, names = [], []
    for point, space in _control_points(document, told):
        position = point.get("position")
        if not isinstance(position, list) or len(position) != 3:
            raise InputError(f"expected a position of three numbers, found {position}")
        points.append(_flipped(_numbers(position, position), space))
        names.append(str(point.get("label", "")))
    return points, names


def _refilled(landmarks: Landmarks, template: Path, ending: str, told: Space | None) -> str:
    """The template's text with other coordinates."""
    text = _text(template)
    if ending in _MARKUPS:
        document = _document(text, template)
        slots = list(_control_points(document, told))
        _check_count(landmarks, len(slots))
        for (slot, space), point in zip(slots, landmarks.points, strict=True):
            slot["position"] = _flipped(point, space).tolist()
        return json.dumps(document, indent=4, ensure_ascii=False) + "\n"
    table = _table(text, ending, told)
    _check_count(landmarks, len(table.rows))
    for row, point in zip(table.rows, landmarks.points, strict=True):
        for column, value in zip(table.columns, _flipped(point, table.space), strict=True):
            row[column] = _shown(value)
    return "".join(line + "\n" for line in table.above) + _rows(table.rows, table.delimiter)


def _check_count(landmarks: Landmarks, count: int) -> None:
    if count != len(landmarks.points):
        raise InputError(f"holds {count} points, not {len(landmarks.points)}, and cannot be the template")


def _fresh(landmarks: Landmarks, ending: str, space: Space) -> str:
    rows = [[_shown(v) for v in _flipped(point, space)] for point in landmarks.points]
    named = list(zip(landmarks.names, rows, strict=True))
    if ending == ".fcsv":
        above = f"# Markups fiducial file version = 4.11\n# CoordinateSystem = {space}\n"
        above += f"# columns = {_FCSV_COLUMNS}\n"
        return above + _rows(
            [[str(n), *row, "0", "0", "0", "1", "1", "1", "0", name, "", ""] for n, (name, row) in enumerate(named, 1)]
        )
    if ending in _MARKUPS:
        points = [
            {"id": str(n), "label": name, "position": [float(v) for v in row], "positionStatus": "defined"}
            for n, (name, row) in enumerate(named, 1)
        ]
        markup = {"type": "Fiducial", "coordinateSystem": space, "coordinateUnits": "mm", "controlPoints": points}
        return json.dumps({"@schema": _SCHEMA, "markups": [markup]}, indent=4, ensure_ascii=False) + "\n"
    header = ["name", *(f"{axis}_{space.lower()}" for axis in "xyz")]
    return _rows([header, *([name, *row] for name, row in named)], "\t" if ending == ".tsv" else ",")


def _shown(value: float) -> str:
    """A millionth of a millimetre is enough, and -0 is 0."""
    return f"{round(float(value), 6) + 0.0:.6f}"


def _rows(rows: list[list[str]], delimiter: str = ",") -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return stream.getvalue()
