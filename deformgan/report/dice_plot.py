"""Dice by structure: a group each, a box a method, every case a dot."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = ("#3b6ea5", "#d9822b", "#4c9a5f", "#a04a8c", "#7a7a7a", "#b33f40")
DPI, HEIGHT_IN = 120, 4.2
LEFT_IN, GROUP_IN, NARROWEST_IN = 1.6, 1.2, 5.0  # inches: of the axis' names, of a group, of the whole
SPREAD = 0.8  # share of a group's width, all boxes together


def dice_plot(values: Mapping[str, Mapping[str, Sequence[float]]]) -> bytes:
    """PNG; values: method -> structure -> Dice of each case, finite.

    Boxes: quartiles and median; whiskers: the furthest case within 1.5 times their distance.
    """
    groups = list(dict.fromkeys(group for by_group in values.values() for group in by_group))
    size = max(NARROWEST_IN, LEFT_IN + GROUP_IN * len(groups)), HEIGHT_IN
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes, width = figure.add_subplot(), SPREAD / max(1, len(values))
    for n, (method, by_group) in enumerate(values.items()):
        colour = COLOURS[n % len(COLOURS)]
        places = np.arange(len(groups)) + (n - (len(values) - 1) / 2) * width
        cases = [by_group.get(group, ()) for group in groups]
        line = {"color": colour}
        axes.boxplot(
            cases,
            positions=places,
            widths=0.8 * width,
            patch_artist=True,
            showfliers=False,
            boxprops={"facecolor": f"{colour}66", "edgecolor": colour},
            medianprops=line,
            whiskerprops=line,
            capprops=line,
        )
        for place, dots in zip(places, cases, strict=True):
            axes.plot(np.full(len(dots), place), dots, ".", color=colour, markersize=4)
        axes.plot([], [], "s", color=colour, label=method)
    axes.set_xticks(range(len(groups)), [group.replace("_", " ") for group in groups])
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(0, 1)
    axes.set_ylabel("Dice")
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=min(4, len(values)), fontsize=9, frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
