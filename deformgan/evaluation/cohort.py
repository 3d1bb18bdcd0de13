"""Many cases: judge each, go on where one fails, and say what the whole shows."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from deformgan.errors import DeformganError, InputError
from deformgan.evaluation.cases import TEXTS, Case
from deformgan.evaluation.pair import EvaluateOptions, Scores, evaluate_case
from deformgan.evaluation.statistics import compare, summary
from deformgan.io.tables import read_table
from deformgan.io.whole_file import whole_file

WHOLE = "all"  # stands in the column `label` of a row that is about the whole case

_UNTESTED = ("labels", "labels_unmatched", "landmarks", "affine_volume_factor")  # counts, and no merit of the method

Row = dict[str, Any]


@dataclass(frozen=True)
class Cohort:
    """rows: for each case one about the whole and one a label.  failures: case, method and reason of the rest."""

    rows: list[Row]
    failures: list[dict[str, str]]


def evaluate_cases(
    cases: Sequence[Case], options: EvaluateOptions, show: Callable[[int, Case], None] = lambda number, case: None
) -> Cohort:
    """Judge every case; `show` is told each one's number and name when it begins."""
    rows: list[Row] = []
    failures: list[dict[str, str]] = []
    for number, case in enumerate(cases, start=1):
        show(number, case)
        try:
            rows += rows_of(case, evaluate_case(case, options))
        except DeformganError as error:
            failures.append({"case": case.case, "method": case.method, "reason": str(error)})
    return Cohort(rows, failures)


def rows_of(case: Case, scores: Scores) -> list[Row]:
    """The case as rows of a table; nested measures are named like inverse_error_mm_p95."""
    names = {name: getattr(case, name) for name in TEXTS}
    return [{**names, "label": WHOLE, **flat(scores.measures)}, *({**names, **row} for row in scores.labels)]


def flat(measures: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """Nested measures in one level, names joined by "_"."""
    out: dict[str, float] = {}
    for name, value in measures.items():
        out |= flat(value, f"{before}{name}_") if isinstance(value, Mapping) else {before + name: value}
    return out


def summarised(rows: Sequence[Row], seed: int = 0) -> list[dict[str, Any]]:
    """For every method, all its cases and then every group: a summary of each measure of the whole case."""
    out: list[dict[str, Any]] = []
    whole = [row for row in rows if row["label"] == WHOLE]
    for method in dict.fromkeys(row["method"] for row in whole):
        own = [row for row in whole if row["method"] == method]
        for group in ("", *dict.fromkeys(row["group"] for row in own if row["group"])):
            members = [row for row in own if not group or row["group"] == group]
            for name in _measures(members):
                values = [float(row.get(name, math.nan)) for row in members]
                out.append({"method": method, "group": group, "measure": name, **summary(values, seed)})
    return out


def compared(
    rows: Sequence[Row], others: Sequence[Row] = (), names: tuple[str, str] = ("", "")
) -> list[dict[str, Any]]:
    """Paired tests between all methods of both tables, by case; `names` tell the tables apart where methods do not."""
    scores: dict[str, dict[str, dict[str, float]]] = {}
    taken = {row["method"] for row in rows} & {row["method"] for row in others}
    for table, name in ((rows, names[0]), (others, names[1])):
        for row in table:
            if row["label"] == WHOLE:
                method = row["method"]
                called = f"{name} {method}".strip() if method in taken or not method else method
                tested = (key for key in _measures([row]) if key not in _UNTESTED and not key.startswith("tre_before"))
                measures = {key: float(row[key]) for key in tested}
                scores.setdefault(called, {})[row["case"]] = measures
    return compare(scores)


def write_rows(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """A CSV with every column that a row has; empty where a value is missing.  Raises OutputError."""
    titles = list(dict.fromkeys((*TEXTS, "label", *(name for row in rows for name in row))))
    stream = StringIO()
    table = csv.DictWriter(stream, titles, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows({name: "" if _missing(value) else value for name, value in row.items()} for row in rows)
    with whole_file(path) as scratch:
        scratch.write_text(stream.getvalue(), encoding="utf-8", newline="")


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """The rows about whole cases that `write_rows` wrote.  Raises InputError for a file without any."""
    place = Path(path)
    rows = [row for row in read_table(place) if row.get("label") == WHOLE and row.get("case")]
    try:
        read = [{name: _read(name, value) for name, value in row.items() if name and value} for row in rows]
    except ValueError as error:
        raise InputError(f"{place}: cannot be read as a table of measures: {error}") from error
    if not read:
        raise InputError(
            f"{place}: expected the CSV that `deformgan evaluate --pairs` writes, with rows of label {WHOLE}"
        )
    return [{**dict.fromkeys(TEXTS, ""), **row} for row in read]


def write_document(document: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """JSON, null for what is missing or infinite.  Raises OutputError."""
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(_plain(document), indent=1) + "\n", encoding="utf-8")


def _measures(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row if name not in (*TEXTS, "label")))


def _read(name: str, value: str) -> Any:
    return value if name in (*TEXTS, "label") else float(value)


def _missing(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
