"""The report of a batch: one HTML page with what failed, which results stand out, and how the measures are spread."""

from __future__ import annotations

import base64
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.io.whole_file import whole_file
from deformgan.report.html import number
from deformgan.report.template import filled, text_of

SHOWN_OUTLIERS, SHOWN_AT_LEAST, SHOWN_PAIRS, SHOWN_NAMES = 24, 6, 1000, 12
FAR = 3.5  # robust standard deviations from the median, beyond which a result stands out (Iglewicz and Hoaglin 1993)
BINS = (8, 32)


@dataclass(slots=True)
class Line:
    """One pair.  report, thumbnail: files seen from the page's folder.  reason: of a failure.  suspect: why the result
    may be worse than none.

    status: waiting, running, done, kept (done by an earlier run) or failed.
    """

    name: str
    report: str = ""
    thumbnail: str = ""
    status: str = "waiting"
    reason: str = ""
    values: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    suspect: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measure:
    """bad: 1 where high values are, -1 where low ones are, 2 both, 0 neither.  least: a difference that says little.

    words: what it is.  digits: shown after the point.
    """

    key: str
    title: str
    unit: str
    bad: int
    least: float
    words: str
    digits: int = 3

    def shown(self, value: Any) -> str:
        """The value with its unit."""
        return number(value, self.digits) + (f" {self.unit}" if self.unit else "")


MEASURES = (
    Measure("dice", "Dice", "", -1, 0.02, "Overlap of the labels after registration."),
    Measure("hd95_mm", "HD95", "mm", 1, 1.0, "Distance of the labels' surfaces.", 1),
    Measure("similarity", "Similarity", "", -1, 0.02, "How well the images meet; more is better."),
    Measure("folding_percent", "Folding", "%", 1, 0.02, "Voxels turned inside out; should be 0."),
    Measure("min_jacobian", "Smallest Jacobian", "", -1, 0.05, "Strongest shrinking; 0 and below folds."),
    Measure("sd_log_jacobian", "SD of log Jacobian", "", 1, 0.03, "How uneven the change of volume is."),
    Measure("affine_volume_factor", "Affine volume factor", "", 2, 0.03, "Volume change of the affine part."),
    Measure("inverse_error_mm", "Inverse error", "mm", 1, 0.05, "There and back, 95th percentile."),
    Measure("seconds", "Time", "s", 0, 1.0, "Of one pair, on its share of the cores.", 1),
)


def write_cohort_report(path: str | os.PathLike[str], lines: Sequence[Line], folder: Path) -> None:
    """Write the page; thumbnails of what stands out are read from `folder` and put into it.  Raises OutputError."""
    good = [line for line in lines if line.status in ("done", "kept")]
    ranked, known = standing_out(good), _known(good)
    out = sum(bool(reasons) for _, _, reasons in ranked)
    spreads = [spread for measure in known if (spread := _spread(measure, good))]
    shown = min(max(out, SHOWN_AT_LEAST), SHOWN_OUTLIERS)
    text = filled(
        "cohort.html.j2",
        {
            "style": text_of("page.css"),
            "total": len(lines),
            "counts": Counter(line.status for line in lines),
            "failures": causes(lines),
            "cards": [_card(line, reasons, folder) for line, _, reasons in ranked[:shown]],
            "standing_out": out,
            "suspect": sum(bool(line.suspect) for line in good),
            "spreads": spreads,
            "alike": [
                f"{m.title} {m.shown(_values(m, good)[0])}"
                for m in known
                if m.key not in {s["measure"].key for s in spreads}
            ],
            "titles": [m.title + (f", {m.unit}" if m.unit else "") for m in known],
            "rows": [
                (line, [number(line.values.get(m.key), m.digits) for m in known]) for line, _, _ in ranked[:SHOWN_PAIRS]
            ],
            "finished": len(good),
        },
    )
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def standing_out(lines: Sequence[Line]) -> list[tuple[Line, float, list[str]]]:
    """(line, how far its worst measure lies on the bad side, what stands out), the farthest first.

    The distance from the median is counted in robust standard deviations, 1.4826 times the median absolute deviation,
    or in the least difference that means something if that is larger.  A result that warns of itself stands out too,
    and a suspect one before all others.
    """
    far = np.zeros(len(lines))
    why: dict[int, list[tuple[float, str]]] = defaultdict(list)
    for measure in _known(lines):
        values = _values(measure, lines)
        if not measure.bad or np.isfinite(values).sum() < 3:
            continue
        middle = float(np.nanmedian(values))
        scale = max(1.4826 * float(np.nanmedian(np.abs(values - middle))), measure.least)
        away = (values - middle) / scale
        away = np.nan_to_num(np.abs(away) if measure.bad == 2 else measure.bad * away)
        far = np.maximum(far, away)
        for i in np.flatnonzero(away > FAR):
            words = f"{measure.title} {measure.shown(values[i])}, median {measure.shown(middle)}"
            why[int(i)].append((float(away[i]), words))
    rank = np.maximum(far, [np.inf if x.suspect else FAR if x.warnings else 0.0 for x in lines]).tolist()
    order = sorted(range(len(lines)), key=lambda i: (-rank[i], lines[i].name))
    return [
        (
            lines[i],
            float(far[i]),
            [f"suspect: {words}" for words in lines[i].suspect]
            + [words for _, words in sorted(why[i], reverse=True)]
            + list(lines[i].warnings),
        )
        for i in order
    ]


def causes(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Failures that differ in names and numbers only, together: words of the first, how many, who."""
    alike: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line.status == "failed":
            alike[re.sub(r"\S*/\S*|\d+(\.\d+)?", "\N{HORIZONTAL ELLIPSIS}", line.reason)].append(line)
    most = sorted(alike.values(), key=len, reverse=True)
    return [{"reason": one[0].reason, "count": len(one), "names": [x.name for x in one[:SHOWN_NAMES]]} for one in most]


def _known(lines: Sequence[Line]) -> list[Measure]:
    return [measure for measure in MEASURES if any(measure.key in line.values for line in lines)]


def _values(measure: Measure, lines: Sequence[Line]) -> NDArray[np.float64]:
    return np.array([line.values.get(measure.key, np.nan) for line in lines], dtype=np.float64)


def _card(line: Line, reasons: list[str], folder: Path) -> dict[str, Any]:
    try:
        picture = base64.b64encode((folder / line.thumbnail).read_bytes()).decode("ascii")
    except OSError:
        picture = ""
    return {"line": line, "reasons": reasons, "picture": picture}


def _spread(measure: Measure, lines: Sequence[Line]) -> dict[str, Any] | None:
    """A histogram: bars as (x, width, height) in percent, the median's place, what to write below; None where all are
    alike.
    """
    values = _values(measure, lines)
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if number(low, measure.digits) == number(high, measure.digits):
        return None
    middle, span, bins = float(np.median(values)), high - low, int(np.clip(2 * np.sqrt(len(values)), *BINS))
    counts, edges = np.histogram(values, bins, (low, high))
    bars = [
        (100 * (edge - low) / span, 100 / bins, max(2.0, 100 * count / counts.max()))
        for edge, count in zip(edges[:-1].tolist(), counts.tolist(), strict=True)
        if count
    ]
    most = [number(v, measure.digits) for v in np.percentile(values, (5, 95))]
    return {
        "measure": measure,
        "bars": bars,
        "middle": 100 * (middle - low) / span,
        "low": number(low, measure.digits),
        "high": number(high, measure.digits),
        "median": measure.shown(middle),
        "range": f"{most[0]} to {most[1]}",
        "n": len(values),
    }
