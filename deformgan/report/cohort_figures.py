"""A small picture of one result, for the page of a whole batch."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from deformgan.io.whole_file import whole_file
from deformgan.report.figures import Image, scene
from deformgan.report.panels import canvas, outlines, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deformgan.io.geometry import Geometry
    from deformgan.report.orientation import View

DPI = 42  # of a canvas of 12.8 inches: some 540 pixels, 15 kB


def write_thumbnail(path: str | os.PathLike[str], fixed: Image, warped: Image, geometry: Geometry) -> None:
    """Outlines of the warped image over the fixed one, three views, JPEG; both (Z, Y, X) on `geometry`.

    Raises InputError for an image on another grid, OutputError for a path that cannot be written.
    """
    view = scene(fixed, warped, warped, geometry)

    def paint(axes: Axes, plane: View) -> None:
        show(axes, plane, view.fixed_window.grey(plane.cut(view.fixed)))
        outlines(axes, plane.cut(view.after), view.moving_window)

    figure = canvas([list(view.planes)], [paint] * len(view.planes))
    stream = io.BytesIO()
    figure.savefig(stream, format="jpg", dpi=DPI, pil_kwargs={"quality": 85})
    with whole_file(path) as scratch:
        scratch.write_bytes(stream.getvalue())
