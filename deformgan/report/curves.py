"""Curves as inline SVG: they take the page's colours, in dark and light, and need no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 1000, 190, 64, 34, 22
MOST = 5  # panels in a row


@dataclass(frozen=True)
class Part:
    """A named stretch of a curve: its values one after the other; those that are not finite leave a gap.

    first, last: the places of the first and the last value on the horizontal axis, by default counted from 1.
    """

    name: str
    values: tuple[float, ...]
    first: int = 1
    last: int | None = None


def stretches(parts: Sequence[Part], *, across: str, up: str, most: int = MOST) -> Markup:
    """Panels in rows of at most `most`, each on a range of its own, for values of different levels do not compare.

    across: what is counted along; up: what the values are.
    """
    drawn = [p for p in parts if any(math.isfinite(v) for v in p.values)]
    columns = min(most, max(1, len(drawn)))
    width = WIDTH / columns - LEFT
    rows = [drawn[k : k + columns] for k in range(0, len(drawn), columns)]
    lefts = [LEFT + k * (width + LEFT) for k in range(columns)]
    return Markup("").join(
        _svg([_panel(part, left, width) for part, left in zip(row, lefts, strict=False)], across, up) for row in rows
    )


def _panel(part: Part, left: float, width: float) -> str:
    """Frame, range, and line of one part."""
    known = [v for v in part.values if math.isfinite(v)]
    low, high = min(known), max(known)
    tall, base = HEIGHT - BOTTOM - TOP, HEIGHT - BOTTOM
    points, pen = [], "M"
    for k, value in enumerate(part.values):
        if not math.isfinite(value):
            pen = "M"
            continue
        x = left + width * k / max(1, len(part.values) - 1)
        y = TOP + tall * (1 - ((value - low) / (high - low) if high > low else 0.5))
        points.append(f"{pen}{x:.1f} {y:.1f}" + ("h0.1" if pen == "M" else ""))  # a value alone is a dot
        pen = "L"
    last = part.first + len(part.values) - 1 if part.last is None else part.last
    return (
        f'<path class="axis" d="M{left:.1f} {TOP}V{base}H{left + width:.1f}"/>'
        f'<path class="line" d="{"".join(points)}"/>'
        f'<text x="{left + 4:.1f}" y="{TOP - 8}" class="name">{escape(part.name)}</text>'
        f'<text x="{left - 5:.1f}" y="{TOP + 5}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{left - 5:.1f}" y="{base}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{left:.1f}" y="{base + 16}">{part.first}</text>'
        f'<text x="{left + width:.1f}" y="{base + 16}" text-anchor="end">{last}</text>'
    )


def _svg(panels: list[str], across: str, up: str) -> Markup:
    label, middle = escape(f"{up} by {across}"), (LEFT + WIDTH) / 2
    return Markup(
        f'<svg class="curves" viewBox="0 0 {WIDTH + 6} {HEIGHT}" role="img" aria-label="{label}">{"".join(panels)}'
        f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle" class="soft">{escape(across)}</text></svg>'
    )
