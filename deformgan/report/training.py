"""The page of a training run: curves, sample pictures over time, configuration and environment, in one HTML file."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from deformgan.report.curves import Part, stretches
from deformgan.report.study import Picture
from deformgan.report.template import filled, text_of

POINTS = 200  # of a curve at most; each is then the mean of some steps
IN_A_ROW = 4
PICTURES = 12  # of all that a run has made
QUALITY = 88  # of JPEG

Curve = list[tuple[int, float]]  # (step, value)
Item = TypeVar("Item")


@dataclass(frozen=True)
class RunPage:
    """What the page holds.  done, steps: of the run.  history: lines as in history.jsonl, in their order.

    pictures: (step, JPEG) in their order, all of one kind, which `shown` says in words.  config: YAML.  environment:
    name -> text.
    """

    name: str
    task: str
    done: int
    steps: int
    history: Iterable[Mapping[str, Any]]
    pictures: Sequence[tuple[int, bytes]]
    shown: str
    config: str
    environment: Mapping[str, str]


def training_page(page: RunPage) -> Markup:
    """The page's text; every word of it is escaped.  It asks nothing of the network."""
    curves = curves_of(page.history)
    return filled(
        "training.html.j2",
        {
            "style": text_of("page.css"),
            "page": page,
            "losses": _drawn(curves["losses"]),
            "validation": _drawn(curves["validation"]),
            "figures": [(name, curve[0], curve[-1]) for name, curve in curves["validation"].items()],
            "pictures": [(step, Picture("", "", data).uri) for step, data in page.pictures],
        },
    )


def curves_of(history: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Curve]]:
    """{"losses" and "validation": {"group term": its curve}}; the group of held-out figures goes without saying."""
    found: dict[str, dict[str, Curve]] = {"losses": {}, "validation": {}}
    for line in history:
        for kind, curves in found.items():
            for group, terms in line.get(kind, {}).items():
                for name, value in terms.items():
                    key = f"{group} {name}".removeprefix("held_out ")
                    curves.setdefault(key, []).append((int(line["step"]), float(value)))
    return found


def averaged(curve: Curve, most: int = POINTS) -> tuple[float, ...]:
    """The curve's values, or the means of equal stretches of it where there are more than `most`; NaN where none is."""
    values = np.array([v for _, v in curve])
    size = math.ceil(len(values) / most)
    stretches = [part[np.isfinite(part)] for part in np.split(values, range(size, len(values), size))]
    return tuple(float(part.mean()) if part.size else math.nan for part in stretches)


def spread(items: Sequence[Item], most: int = PICTURES) -> list[Item]:
    """The first, the last, and others evenly between them."""
    picks = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    return [items[k] for k in picks]


def jpeg(image: NDArray[np.floating[Any]]) -> bytes:
    """(height, width) in [0, 1] -> a file."""
    from PIL import Image

    stream = io.BytesIO()
    pixels = np.rint(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(stream, format="jpeg", quality=QUALITY)
    return stream.getvalue()


def _drawn(curves: Mapping[str, Curve]) -> Markup:
    parts = [Part(name, averaged(curve), curve[0][0], curve[-1][0]) for name, curve in curves.items()]
    return stretches(parts, across="step", up="value", most=IN_A_ROW)
