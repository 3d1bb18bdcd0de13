"""Box plots of a study: for each measure a box an arm over slices, with every person's mean as a dot."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# measure -> arm -> (values of slices, means of people), all finite
Boxes = Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]

COLUMNS, DPI = 3, 150
WIDTH_IN, HEAD_IN, ARM_IN = 12.0, 1.0, 0.42  # inches: of the figure, of a panel's title and axis, of an arm
LETTERS = 18  # of an arm's name in a line
_FACE, _EDGE, _MIDDLE, _DOT, _FAINT = "#d3e3f4", "#3f78b5", "#123c66", "#e0641a", "#8a97a5"


def box_plots(boxes: Boxes, titles: Mapping[str, str]) -> bytes:
    """PNG.  titles: of the measures, with units.  Boxes are quartiles; whiskers reach 1.5 times their distance."""
    arms = list(dict.fromkeys(arm for by_arm in boxes.values() for arm in by_arm))
    columns = min(COLUMNS, len(boxes))
    rows = -(-len(boxes) // columns)
    figure = Figure(
        figsize=(WIDTH_IN, rows * (HEAD_IN + ARM_IN * len(arms))), dpi=DPI, layout=ConstrainedLayoutEngine(h_pad=0.12)
    )
    FigureCanvasAgg(figure)
    panels = np.ravel(figure.subplots(rows, columns, sharey=True, squeeze=False))
    for panel, (measure, by_arm) in zip(panels, boxes.items(), strict=False):
        _panel(panel, by_arm, arms)
        panel.set_title(titles[measure], fontsize=11)
    for panel in panels[len(boxes) :]:
        panel.set_axis_off()
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _panel(axes: Axes, by_arm: Mapping[str, tuple[Sequence[float], Sequence[float]]], arms: Sequence[str]) -> None:
    places = [k for k, arm in enumerate(arms) if arm in by_arm]
    line = {"color": _EDGE, "linewidth": 1}
    axes.boxplot(
        [list(by_arm[arms[k]][0]) for k in places],
        positions=places,
        orientation="horizontal",
        widths=0.6,
        patch_artist=True,
        boxprops={"facecolor": _FACE, "edgecolor": _EDGE},
        whiskerprops=line,
        capprops=line,
        medianprops={"color": _MIDDLE, "linewidth": 2},
        flierprops={"marker": ".", "markersize": 4, "markerfacecolor": _FAINT, "markeredgecolor": "none", "alpha": 0.8},
    )
    for k in places:
        dots = by_arm[arms[k]][1]
        axes.plot(dots, np.full(len(dots), k), "o", color=_DOT, markeredgecolor="white", markersize=6.5, zorder=3)
    axes.set_yticks(range(len(arms)), ["\n".join(textwrap.wrap(arm.replace("_", " "), LETTERS)) for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.grid(axis="x", color="#e3e8ee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
