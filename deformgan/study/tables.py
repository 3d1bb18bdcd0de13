"""What slices say, by person: the paper's Table 1, the tests between arms, and the files that hold them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path

from deformgan.evaluation.statistics import holm, means_by, nested_tests, summary
from deformgan.evaluation.synthesis import MEASURES, Row
from deformgan.io.whole_file import whole_file

# Title and digits.  Table and pictures are in this order.
SHOWN = {
    "mae": ("MAE, of 255", 2),
    "psnr_db": ("PSNR, dB", 2),
    "mae_hu": ("MAE in the window, HU", 1),
    "mae_hu_unclipped": ("MAE unclipped, HU", 1),
    "ssim": ("SSIM", 3),
    "mi_nats": ("MI with the MR, nats", 3),
}
SAME_AS_MAE = "mae_hu"  # times a constant: its tests say the same
TITLES = {name: title for name, (title, _) in SHOWN.items()}
NONE = "-"
_TESTED = ("t_p", "sign_flip_p")


def measured(rows: Sequence[Row]) -> list[str]:
    """The measures of which there is a value."""
    return [name for name in MEASURES if any(math.isfinite(row.get(name, math.nan)) for row in rows)]


def summarised(rows: Sequence[Row], seed: int) -> list[Row]:
    """For every arm and measure, over people: how many, of how many slices, and a summary.

    rows: arm, subject, slice and measures.
    """
    out: list[Row] = []
    for arm in _arms(rows):
        own = [row for row in rows if row["arm"] == arm]
        for name in measured(rows):
            means, slices = means_by([row.get(name, math.nan) for row in own], [row["subject"] for row in own])
            found = summary(means, seed)
            kept = {key: found[key] for key in ("mean", "sd", "ci95_low", "ci95_high")}
            out.append({"arm": arm, "measure": name, "people": len(means), "slices": slices, **kept})
    return out


def tested_pairs(rows: Sequence[Row], factor: Callable[[str, str], str], seed: int) -> list[Row]:
    """Every two arms on every measure, first - second over the slices that both have.

    factor: what two arms differ in.  Holm's correction counts the pairs of arms of one measure, for either test.
    """
    out: list[Row] = []
    arms, names = _arms(rows), measured(rows)
    values = {arm: {(r["subject"], r["slice"]): r for r in rows if r["arm"] == arm} for arm in arms}
    for name in names:
        family: list[Row] = []
        for n, first in enumerate(arms):
            for second in arms[n + 1 :]:
                shared = [key for key in values[first] if key in values[second]]
                one, other = ([values[arm][key].get(name, math.nan) for key in shared] for arm in (first, second))
                found = nested_tests(one, other, [subject for subject, _ in shared], seed)
                differ = {"differ_in": factor(first, second)}
                family.append({"measure": name, "first": first, "second": second, **differ, **found})
        for test in _TESTED:
            for row, corrected in zip(family, holm([row[test] for row in family]), strict=True):
                row[f"{test}_holm"] = corrected
        out += family
    return out


def boxes(rows: Sequence[Row]) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Measure -> arm -> (values of slices, means of people)."""
    out: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for name in measured(rows):
        for arm in _arms(rows):
            own = [r for r in rows if r["arm"] == arm and math.isfinite(r.get(name, math.nan))]
            means, _ = means_by([r[name] for r in own], [r["subject"] for r in own])
            out.setdefault(name, {})[arm] = ([r[name] for r in own], means.tolist())
    return out


def table_cells(table: Sequence[Row], arms: Mapping[str, tuple[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Titles, and a row of text for each arm: the mean and its 95 % interval.  arms: people, and weight of GC."""
    names = list(dict.fromkeys(row["measure"] for row in table))
    found = {(row["arm"], row["measure"]): row for row in table}
    titles = ["arm", "training people", "GC", *(SHOWN[name][0] for name in names)]
    return titles, [[arm, *about, *(_mean(found[arm, name]) for name in names)] for arm, about in arms.items()]


def test_cells(tests: Sequence[Row], measure: str) -> tuple[list[str], list[list[str]]]:
    """Titles, and a row of text for every two arms."""
    digits = SHOWN[measure][1] + 1
    titles = ["first", "second", "differ in", "people", "slices", "difference", "95 % interval (t)", "d", "p (t)",
              "p (signs)", "Holm (t)", "Holm (signs)"]  # fmt: skip
    cells = []
    for row in (row for row in tests if row["measure"] == measure):
        low, high = _text(row["t95_low"], digits), _text(row["t95_high"], digits)
        interval = NONE if NONE in (low, high) else f"{low} to {high}"
        cells.append([row["first"], row["second"], row["differ_in"] or NONE, str(row["people"]), str(row["slices"]),
                      _text(row["mean_difference"], digits), interval, _text(row["cohens_d"], 2), _p(row["t_p"]),
                      _p(row["sign_flip_p"]), _p(row["t_p_holm"]), _p(row["sign_flip_p_holm"])])  # fmt: skip
    return titles, cells


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Every column that a row has; empty where a value is missing.  Raises OutputError."""
    stream = StringIO()
    table = csv.DictWriter(stream, list(dict.fromkeys(k for row in rows for k in row)), restval="", lineterminator="\n")
    table.writeheader()
    table.writerows({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows)
    with whole_file(path) as scratch:
        scratch.write_text(stream.getvalue(), encoding="utf-8", newline="")


def _arms(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["arm"] for row in rows))


def _mean(row: Row) -> str:
    digits = SHOWN[row["measure"]][1]
    mean = _text(row["mean"], digits)
    if not math.isfinite(row["ci95_low"]):
        return mean
    return f"{mean} ({_text(row['ci95_low'], digits)} to {_text(row['ci95_high'], digits)})"


def _text(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else NONE


def _p(value: float) -> str:
    if not math.isfinite(value):
        return NONE
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"
