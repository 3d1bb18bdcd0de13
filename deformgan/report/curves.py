"""Curves as inline SVG: they take the page's colours, in dark and light, and need no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 1000, 220, 64, 34, 22
_FEW = 400  # points of a curve that are drawn


@dataclass(frozen=True)
class Part:
    """A named stretch of a curve: its values one after the other; those that are not finite leave a gap.

    first: the place of the first value on the horizontal axis.  step: between values.
    """

    name: str
    values: tuple[float, ...]
    first: float = 1
    step: float = 1


def stretches(parts: Sequence[Part], *, across: str, up: str) -> Markup:
    """Parts beside each other, each on a vertical range of its own, for values of different levels do not compare.

    across: what is counted along; up: what the values are.
    """
    drawn = [p for p in parts if any(math.isfinite(v) for v in p.values)]
    if not drawn:
        return Markup("")
    gap = LEFT
    room = (WIDTH - LEFT - gap * (len(drawn) - 1)) / sum(max(len(p.values), 8) for p in drawn)
    pieces, left = [], float(LEFT)
    for part in drawn:
        width = room * max(len(part.values), 8)
        pieces.append(_panel(part, left, width))
        left += width + gap
    return _svg(pieces, across, up)


def _panel(part: Part, left: float, width: float) -> str:
    """Frame, range, and line of one part."""
    known = [v for v in part.values if math.isfinite(v)]
    low, high = min(known), max(known)
    span = (high - low) or abs(high) or 1.0
    tall = HEIGHT - BOTTOM - TOP
    stride = max(1, -(-len(part.values) // _FEW))
    points, pen = [], "M"
    for k in [*range(0, len(part.values) - 1, stride), len(part.values) - 1]:
        value = part.values[k]
        if not math.isfinite(value):
            pen = "M"
            continue
        x = left + width * k / max(1, len(part.values) - 1)
        y = TOP + tall * (1 - ((value - low) / span if high > low else 0.5))
        points.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    last = part.first + part.step * (len(part.values) - 1)
    base = HEIGHT - BOTTOM
    return (
        f'<path class="axis" d="M{left:.1f} {TOP}V{base}H{left + width:.1f}"/>'
        f'<path class="line" d="{"".join(points)}"/>'
        f'<text x="{left + 4:.1f}" y="{TOP - 8}" class="name">{escape(part.name)}</text>'
        f'<text x="{left - 5:.1f}" y="{TOP + 5}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{left - 5:.1f}" y="{base}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{left:.1f}" y="{base + 16}">{part.first:g}</text>'
        f'<text x="{left + width:.1f}" y="{base + 16}" text-anchor="end">{last:g}</text>'
    )


def _svg(pieces: list[str], across: str, up: str) -> Markup:
    label = escape(f"{up} by {across}")
    middle = (LEFT + WIDTH) / 2
    return Markup(
        f'<svg class="curves" viewBox="0 0 {WIDTH + 6} {HEIGHT}" role="img" aria-label="{label}">{"".join(pieces)}'
        f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle" class="soft">{escape(across)}</text></svg>'
    )
