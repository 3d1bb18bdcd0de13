"""Green, amber or red: what a figure of the report says; the one place of its limits, which docs/report.md lists."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """state: good, check or poor, for the colour.  sign and words say the same without it.  limits: where they part."""

    state: str
    sign: str
    words: str
    limits: str


@dataclass(frozen=True)
class Limits:
    """A figure is good from `good[0]` to `good[1]`, worth a look up to `look`, poor beyond; ends included."""

    good: tuple[float, float]
    look: tuple[float, float]
    unit: str = ""

    def judge(self, value: float) -> Verdict:
        """A finite number; anything else is poor."""
        for (low, high), state in ((self.good, "good"), (self.look, "check")):
            if low <= value <= high:
                return _verdict(state, self._text())
        return _verdict("poor", self._text())

    def _text(self) -> str:
        return f"good: {self._range(self.good)}; look: {self._range(self.look)}"

    def _range(self, ends: tuple[float, float]) -> str:
        low, high = (f"{end:g}{self.unit}" for end in ends)
        if ends[0] == ends[1]:
            return low
        if math.isinf(ends[1]):
            return f"at least {low}"
        return f"up to {high}" if ends[0] == 0 else f"{low} to {high}"


LIMITS = {
    "Folding": Limits((0, 0), (0, 0.1), " %"),
    "Smallest Jacobian": Limits((0.3, math.inf), (0.05, math.inf)),
    "Largest Jacobian": Limits((0, 3), (0, 8)),
    "SD of log Jacobian": Limits((0, 0.2), (0, 0.4)),
    "Affine volume factor": Limits((0.75, 1.34), (0.5, 2)),
    "Inverse error, mean": Limits((0, 0.1), (0, 0.5), " mm"),
    "Inverse error, 95th percentile": Limits((0, 0.3), (0, 1), " mm"),
    "Inverse error, largest": Limits((0, 1), (0, 3), " mm"),
}
SIMILARITY_LIMITS = "good: above the start's; look: the same; poor: below"
_WORDS = {
    "good": ("\N{HEAVY CHECK MARK}", "good"),
    "check": ("\N{BLACK UP-POINTING TRIANGLE}", "look"),
    "poor": ("\N{HEAVY BALLOT X}", "poor"),
}
_PLACES = {
    "Folding": ("regularity", "folding_percent"),
    "Smallest Jacobian": ("regularity", "min_jacobian"),
    "Largest Jacobian": ("regularity", "max_jacobian"),
    "SD of log Jacobian": ("regularity", "sd_log_jacobian"),
    "Affine volume factor": ("affine_volume_factor",),
    "Inverse error, mean": ("inverse_error_mm", "mean"),
    "Inverse error, 95th percentile": ("inverse_error_mm", "p95"),
    "Inverse error, largest": ("inverse_error_mm", "max"),
}


def verdicts(result: Mapping[str, Any]) -> dict[str, Verdict]:
    """By the name that the table of metrics gives a figure; those that are there.  result: as in result.json."""
    found = {}
    for name, place in _PLACES.items():
        value: Any = result
        for key in place:
            value = value.get(key) if isinstance(value, Mapping) else None
        if _is_number(value):
            found[name] = LIMITS[name].judge(float(value))
    return {**found, **_of_similarity(result.get("similarity"))}


def _of_similarity(scores: Any) -> dict[str, Verdict]:
    """Each stage's score beside that of the start, which itself is neither good nor bad."""
    known = {k: float(v) for k, v in scores.items() if _is_number(v)} if isinstance(scores, Mapping) else {}
    found = {}
    for stage, score in list(known.items())[1:]:
        start = next(iter(known.values()))
        state = "good" if score > start else "check" if score == start else "poor"
        found[f"Similarity, {stage}"] = _verdict(state, SIMILARITY_LIMITS)
    return found


def _verdict(state: str, limits: str) -> Verdict:
    return Verdict(state, *_WORDS[state], limits)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
