"""What one view is made of: the grey cut, tiles, outlines, grid lines, letters; and the black canvas they lie on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.path import Path
from numpy.typing import NDArray

from deformgan.report.contrast import Window
from deformgan.report.orientation import Orientation, View
from deformgan.report.ramps import Bar

Paint = Callable[[Axes, View], None]

DPI = 100
WIDTH, MAX_HEIGHT = 1280, 800  # pixels of a canvas
GAP, MARGIN, TITLE = 12, 22, 34  # pixels between views, around each for its letters, of a title
TILES = 9  # of a checkerboard, along the longer edge
GRID_LINES = 26  # of a deformation grid, along the longer edge
LINE_POINTS = 90  # along one line of that grid
SHADES = 48  # of its colour
_MOVING_TINT = np.array([1.0, 0.80, 0.52], dtype=np.float32)  # of moving's tiles
_EDGE, _LETTER = "#ffb000", "#b9c4d0"


def canvas(rows: list[list[View]], paints: Sequence[Paint | None], titles: list[str] | None = None) -> Figure:
    """A black figure with one row of views for each of `rows`, every view at the same scale, one paint a column.

    A column whose paint is None stays empty.
    """
    heights = [max(plane.height_mm for plane in row) for row in rows]
    widths = [max(row[c].width_mm for row in rows) for c in range(len(paints))]
    head = TITLE if titles else 0
    spare = len(paints) * 2 * MARGIN + (len(paints) - 1) * GAP
    scale = min((WIDTH - spare) / sum(widths), MAX_HEIGHT / sum(heights))
    height = round(head + sum(heights) * scale + len(rows) * 2 * MARGIN)
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="black")
    FigureCanvasAgg(figure)
    start = (WIDTH - spare - sum(widths) * scale) / 2
    top = head
    for row, tallest in zip(rows, heights, strict=True):
        left = start
        for column, (plane, paint) in enumerate(zip(row, paints, strict=True)):
            box = (left + MARGIN, top + MARGIN, widths[column] * scale, tallest * scale)
            if paint is not None:
                paint(_view(figure, plane, box, scale), plane)
            if titles and row is rows[0]:
                _write(figure, left + MARGIN + box[2] / 2, TITLE * 0.62, titles[column], size=13)
            left += box[2] + 2 * MARGIN + GAP
        top += round(tallest * scale) + 2 * MARGIN
    return figure


def show(axes: Axes, plane: View, picture: NDArray[Any]) -> None:
    """Draw (rows, columns) greys or (rows, columns, 3) colours, 0 to 1, at the plane's aspect ratio."""
    ratio = plane.pixel_mm[0] / plane.pixel_mm[1]
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="bilinear", aspect=ratio)
    axes.autoscale(False)  # lines drawn later are cut at the picture's edge and do not shrink it


def checkerboard(plane: View, fixed: NDArray[Any], moving: NDArray[Any]) -> NDArray[np.float32]:
    """Greys (rows, columns) -> (rows, columns, 3): square tiles in mm of fixed, grey, and moving, tinted."""
    edge = max(plane.height_mm, plane.width_mm) / TILES
    row, column = (np.floor((np.arange(n) + 0.5) * s / edge) for n, s in zip(fixed.shape, plane.pixel_mm, strict=True))
    tile = (row[:, None] + column[None, :]) % 2 == 1
    board: NDArray[np.float32] = np.where(tile[..., None], moving[..., None] * _MOVING_TINT, fixed[..., None])
    return board


def outlines(axes: Axes, cut: NDArray[Any], window: Window) -> None:
    """Contour lines of a cut (rows, columns) at the window's levels, a little smoothed against noise."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(np.nan_to_num(np.asarray(cut, dtype=np.float32), nan=window.low), 0.8)
    low, high = float(smooth.min()), float(smooth.max())
    levels = sorted({level for level in window.contours if low < level < high})
    if levels and min(smooth.shape) > 1:
        axes.contour(smooth, levels=levels, colors=_EDGE, linewidths=0.9, antialiased=True)


def grid_lines(orientation: Orientation, plane: View, displacement: NDArray[Any], bar: Bar) -> PathCollection:
    """Lines of the plane's grid at x + u(x), coloured by |u|.

    displacement: (rows, columns, 3) mm, LPS x y z.  The step out of the plane shows in the colour only.
    """
    shape = displacement.shape[:2]
    along = displacement @ np.linalg.inv(orientation.directions)  # mm along the turned axes
    place = np.stack(np.meshgrid(np.arange(shape[1]), np.arange(shape[0])), axis=-1).astype(np.float64)
    place[..., 0] += along[..., plane.horizontal] / plane.pixel_mm[1]
    place[..., 1] += along[..., plane.vertical] / plane.pixel_mm[0] * (-1 if plane.upwards else 1)
    shade = np.clip(np.linalg.norm(displacement, axis=-1) / bar.high * SHADES, 0, SHADES - 1).astype(np.int64)
    step_mm = max(plane.height_mm, plane.width_mm) / GRID_LINES
    rows, columns = (_spread(n, n * s / step_mm) for n, s in zip(shape, plane.pixel_mm, strict=True))
    fine_rows, fine_columns = (_spread(n, LINE_POINTS) for n in shape)
    lines = [(place[r, fine_columns], shade[r, fine_columns]) for r in rows]
    lines += [(place[fine_rows, c], shade[fine_rows, c]) for c in columns]
    segments = np.concatenate([np.stack([points[:-1], points[1:]], axis=1) for points, _ in lines])
    shades = np.concatenate([of_points[:-1] for _, of_points in lines])
    used = np.unique(shades)  # one path for all segments of a shade: a path each takes matplotlib a quarter of a second
    ends = [segments[shades == shade].reshape(-1, 2) for shade in used]
    paths = [Path(points, [Path.MOVETO, Path.LINETO] * (len(points) // 2)) for points in ends]
    colours = bar.colours((used + 0.5) / SHADES * bar.high)
    return PathCollection(paths, facecolors="none", edgecolors=colours, linewidths=0.9)


def _spread(count: int, wanted: float) -> NDArray[np.int64]:
    """About `wanted` whole numbers, evenly from 0 to count - 1, none twice."""
    return np.unique(np.linspace(0, count - 1, max(2, min(count, round(wanted)))).round().astype(np.int64))


def _view(figure: Figure, plane: View, box: tuple[float, float, float, float], scale: float) -> Axes:
    """Axes of the plane's size in the middle of `box` (left, top, width, height in pixels), lettered at its edges."""
    height, width = plane.height_mm * scale, plane.width_mm * scale
    left, top = box[0] + (box[2] - width) / 2, box[1] + (box[3] - height) / 2
    whole_width, whole_height = figure.get_size_inches() * DPI
    place = (left / whole_width, 1 - (top + height) / whole_height, width / whole_width, height / whole_height)
    axes = figure.add_axes(place, facecolor="black", frame_on=False, xticks=[], yticks=[])
    at_left, at_right, at_top, at_bottom = plane.letters
    half = MARGIN / 2
    _write(figure, left + width / 2, top - half, at_top)
    _write(figure, left + width / 2, top + height + half, at_bottom)
    _write(figure, left - half, top + height / 2, at_left)
    _write(figure, left + width + half, top + height / 2, at_right)
    return axes


def _write(figure: Figure, x: float, y: float, text: str, size: float = 10.5) -> None:
    """Text centred at a pixel, counted from the top left."""
    width, height = figure.get_size_inches() * DPI
    figure.text(x / width, 1 - y / height, text, color=_LETTER, fontsize=size, ha="center", va="center")
