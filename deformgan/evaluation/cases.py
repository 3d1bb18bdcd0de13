"""Which files make a case: from options, or from a table of many cases."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deformgan.errors import InputError
from deformgan.io.formats import source_exists
from deformgan.io.tables import read_table

FILES = (
    "transform", "fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points", "mask",
    "inverse", "warped", "result",
)  # fmt: skip
TEXTS = ("case", "method", "group")
COLUMNS = (*TEXTS, *FILES)
_BOTH = (("fixed_labels", "moving_labels"), ("fixed_points", "moving_points"))


@dataclass(frozen=True)
class Case:
    """The files of one registration that is to be judged, "" where there is none, and what it is called.

    transform: maps fixed points to moving points; none = the identity, the headers' own position.  inverse: the other
    way.  warped: on the fixed image's grid.  mask: where it counts, in fixed space.  result: a folder that `register`
    wrote.  method: which tool made it.  group: of patients, for the summary.
    """

    case: str = ""
    method: str = ""
    group: str = ""
    transform: str = ""
    fixed: str = ""
    moving: str = ""
    fixed_labels: str = ""
    moving_labels: str = ""
    fixed_points: str = ""
    moving_points: str = ""
    mask: str = ""
    inverse: str = ""
    warped: str = ""
    result: str = ""


def completed(case: Case) -> Case:
    """The case with the files of its result folder filled in.  Raises InputError where it cannot be judged."""
    if case.result:
        case = _with_result(case)
    for one, other in _BOTH:
        if bool(getattr(case, one)) != bool(getattr(case, other)):
            given, missing = (one, other) if getattr(case, one) else (other, one)
            raise InputError(f"--{_dashed(given)} needs --{_dashed(missing)} beside it")
    if case.inverse and not case.transform:
        raise InputError("--inverse is judged against --transform; give both")
    for name in FILES:
        if (path := getattr(case, name)) and not source_exists(path):
            raise InputError(f"{path}: no such file (--{_dashed(name)})")
    labels, points = case.fixed_labels, case.fixed_points
    regularity = case.transform and (case.fixed or case.warped)
    if not (labels or points or regularity or (case.fixed and (case.moving or case.warped))):
        raise InputError(
            "nothing to judge; give --transform with --fixed, or labels, points or images of both sides (see --help)"
        )
    return case


def read_cases(path: str | os.PathLike[str]) -> list[Case]:
    """The rows of a CSV whose columns are named like the options; files are seen from the CSV's folder.

    Files may be missing: that is found when the case's turn comes.  Raises InputError naming file, row and column.
    """
    place = Path(path)
    rows = read_table(place)
    if not rows:
        raise InputError(
            f"{place}: no cases; expected a header line such as 'case,transform,fixed' and a line for each"
        )
    cases = [_case(place, number, row) for number, row in enumerate(rows, start=2)]
    seen: set[tuple[str, str]] = set()
    for number, case in enumerate(cases, start=2):
        if (case.case, case.method) in seen:
            raise InputError(f"{place}: row {number}: case {case.case!r} of method {case.method!r} is there already")
        seen.add((case.case, case.method))
    return cases


def _case(place: Path, number: int, row: Mapping[str, Any]) -> Case:
    values: dict[str, str] = {}
    for title, value in row.items():
        name = (title or "").strip().replace("-", "_")
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, 1)
            hint = f"did you mean {near[0]}?" if near else f"the columns are {', '.join(COLUMNS)}"
            raise InputError(f"{place}: row {number}: unknown column {title!r}; {hint}")
        values[name] = (value or "").strip()
    if values.get("method") and not values.get("case"):
        raise InputError(
            f"{place}: row {number}: a method needs the case's name beside it, so that methods can be paired"
        )
    values["case"] = values.get("case") or str(number - 1)
    for name in FILES:
        if values.get(name):
            values[name] = str(place.resolve().parent / values[name])
    return Case(**values)


def _with_result(case: Case) -> Case:
    folder = Path(case.result)
    if not (folder / "transform.h5").is_file():
        raise InputError(f"{folder}: holds no transform.h5; give the folder that `deformgan register` wrote (--result)")
    found = {"transform": "transform.h5", "inverse": "inverse.h5"}
    if not case.moving:  # else the moving image is warped anew, which tells where it ends
        found["warped"] = "warped.nii.gz"
    there = {name: str(folder / file) for name, file in found.items() if (folder / file).is_file()}
    return replace(case, **{name: file for name, file in there.items() if not getattr(case, name)})


def _dashed(name: str) -> str:
    return name.replace("_", "-")
