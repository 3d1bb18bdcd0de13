"""Colour ramps made for a black ground, and the bar that explains them on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHRINK_TO_GROW = ("#a8e0ff", "#46a6ee", "#1f66ab", "#15181c", "#9c4413", "#ec7f30", "#ffdba6")
_NEAR_TO_FAR = ("#3d5a80", "#2a9d8f", "#8ecf5a", "#f4d35e", "#ff7a5c")
FOLDED = "#ff2fd0"
_JACOBIAN_TICKS = (0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_LEAST_REACH = 1.25  # of the Jacobian bar, so that a faint change looks faint


@dataclass(frozen=True)
class Bar:
    """A colour ramp from low to high (logarithmic or not), its ticks as (share of its length in percent, text).

    alarm: the colour of values of 0 and below, where these have one, with its meaning.
    """

    stops: tuple[str, ...]
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    unit: str
    logarithmic: bool = False
    alarm: tuple[str, str] | None = None

    def colours(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(...) in the bar's unit -> (..., 3) red, green, blue, 0 to 1; NaN: the middle of a logarithmic bar."""
        known = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=(self.low * self.high) ** 0.5, neginf=0.0)
        share = self._share(np.clip(known, self.low, self.high))
        ramp = np.array([_rgb(stop) for stop in self.stops])
        at = np.linspace(0, 1, len(ramp))
        colour = np.stack([np.interp(share, at, ramp[:, c]) for c in range(3)], axis=-1).astype(np.float32)
        if self.alarm:
            colour[known <= 0] = _rgb(self.alarm[0])
        return colour

    def _share(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.logarithmic:
            return np.log(values / self.low) / np.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)


def jacobian_bar(cuts: Sequence[NDArray[Any]]) -> Bar:
    """Symmetric in log J around 1, wide enough for 99.5 % of the voxels of `cuts`, between 1.25 and 10 times."""
    values = np.concatenate([cut[np.isfinite(cut) & (cut > 0)].ravel() for cut in cuts])
    reach = float(np.exp(np.percentile(np.abs(np.log(values)), 99.5))) if values.size else _LEAST_REACH
    high = min(max(reach, _LEAST_REACH), 10.0)
    ticks = [t for t in _JACOBIAN_TICKS if 0.999 / high <= t <= high * 1.001]
    places = tuple((float(50 + 50 * np.log(t) / np.log(high)), f"{t:g}") for t in _apart(ticks))
    return Bar(_SHRINK_TO_GROW, 1 / high, high, places, "J", logarithmic=True, alarm=(FOLDED, "folded"))


def displacement_bar(largest_mm: float) -> Bar:
    """From 0 to the largest displacement, at least 1 mm."""
    high = max(largest_mm, 1.0) if np.isfinite(largest_mm) else 1.0
    step = min((s for s in (0.25, 0.5, 1, 2, 2.5, 5, 10, 20, 50, 100, 200) if high / s <= 5), default=high / 4)
    ticks = tuple((float(100 * t / high), f"{t:g}") for t in np.arange(0, high * 1.0001, step))
    return Bar(_NEAR_TO_FAR, 0.0, high, ticks, "mm")


def _apart(ticks: list[float]) -> list[float]:
    """Every second tick, 1 among them, where there are more than seven."""
    return ticks if len(ticks) <= 7 else ticks[ticks.index(1.0) % 2 :: 2]


def _rgb(colour: str) -> tuple[float, float, float]:
    return int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255
