"""Pictures of a registration: rows of orthogonal views, drawn on 2-D cuts only; the home of matplotlib."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.whole_file import whole_file
from deformgan.report.contrast import SOFT_TISSUE_HU, Window, body_centre, contrast_window
from deformgan.report.orientation import Orientation, View, radiological_views
from deformgan.report.panels import Paint, canvas, checkerboard, grid_lines, outlines, show
from deformgan.report.ramps import Bar, displacement_bar, jacobian_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deformgan.io.geometry import Geometry

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """One picture of the report: title, one sentence, a data URI, its size in pixels, and perhaps a colour bar."""

    title: str
    text: str
    uri: str
    width: int
    height: int
    bar: Bar | None = None


@dataclass(frozen=True)
class Scene:
    """What is drawn: images turned to (S, P, L), their windows, and three planes through the body's middle."""

    orientation: Orientation
    planes: tuple[View, ...]
    fixed: Image
    before: Image
    after: Image
    fixed_window: Window
    moving_window: Window


def scene(fixed: Image, moving_start: Image, warped: Image, geometry: Geometry) -> Scene:
    """All three images (Z, Y, X) on `geometry`.  Raises InputError where an image is not on that grid."""
    for name, image in (("fixed", fixed), ("moving_start", moving_start), ("warped", warped)):
        _check_shape(name, image, geometry.shape)
    orientation = Orientation.of(geometry)
    window = contrast_window(fixed)
    turned = orientation.turn(fixed)
    return Scene(
        orientation=orientation,
        planes=radiological_views(orientation, turned.shape, body_centre(turned, window)),
        fixed=turned,
        before=orientation.turn(moving_start),
        after=orientation.turn(warped),
        fixed_window=window,
        moving_window=contrast_window(moving_start, warped),
    )


def image_rows(view: Scene) -> list[Row]:
    """Fixed, moving before, warped, checkerboards and edges before and after."""
    fixed = _grey(view.fixed, view.fixed_window)
    return [
        _row("Fixed", "The image that stays; everything below lies on its grid.", view, fixed),
        _row("Moving, before", "At the start pose.", view, _grey(view.before, view.moving_window)),
        _row("Moving, after", "The warped image.", view, _grey(view.after, view.moving_window)),
        _row(
            "Checkerboard, before",
            "Grey tiles are fixed, tinted tiles moving: where the two meet, outlines should run on.",
            view,
            _checkerboard(view, view.before),
        ),
        _row("Checkerboard, after", "The same tiles with the warped image.", view, _checkerboard(view, view.after)),
        _row("Edges, before", "Outlines of moving drawn over fixed.", view, _edges(view, view.before)),
        _row("Edges, after", "Outlines of the warped image drawn over fixed.", view, _edges(view, view.after)),
    ]


def bridge_row(view: Scene, bridge: Image) -> Row:
    """The CT made of the MR.  bridge: (Z, Y, X).  Raises InputError for another shape."""
    turned = view.orientation.turn(bridge)
    _check_shape("bridge", turned, view.fixed.shape)
    text = "The CT that a model made of the MR, moved as that is: compared with the real CT, never written."
    return _row("Bridge", text, view, _grey(turned, Window(*SOFT_TISSUE_HU, SOFT_TISSUE_HU)))


def displacement_row(view: Scene, displacement: Image) -> Row:
    """The deformation grid: straight lines of the fixed grid at x + u(x).

    displacement: (Z, Y, X, 3) mm, LPS x y z, on the fixed grid.  Raises InputError for another shape.
    """
    turned = view.orientation.turn(displacement)
    _check_shape("displacement", turned, (*view.fixed.shape, 3))
    cuts = [np.linalg.norm(plane.cut(turned), axis=-1) for plane in view.planes]
    bar = displacement_bar(max(float(np.nanpercentile(cut, 99.8)) for cut in cuts))

    def paint(axes: Axes, plane: View) -> None:
        show(axes, plane, 0.42 * view.fixed_window.grey(plane.cut(view.fixed)))
        axes.add_collection(grid_lines(view.orientation, plane, plane.cut(turned), bar))

    text = "A regular grid on fixed, each point moved to its match (deformable part only); the colour is how far."
    return _row("Deformation grid", text, view, paint, bar)


def jacobian_row(view: Scene, jacobian: Image) -> Row:
    """Local change of volume over fixed.  jacobian: (Z, Y, X).  Raises InputError for another shape."""
    turned = view.orientation.turn(jacobian)
    _check_shape("jacobian", turned, view.fixed.shape)
    cuts = [plane.cut(turned) for plane in view.planes]
    bar = jacobian_bar(cuts)

    def paint(axes: Axes, plane: View) -> None:
        values = plane.cut(turned)
        grey = view.fixed_window.grey(plane.cut(view.fixed))[..., None]
        show(axes, plane, np.clip(bar.colours(values) * (0.8 + 0.2 * grey) + 0.16 * grey, 0, 1))

    text = "How each spot's volume changes from fixed to moving: 1 is unchanged, 2 is doubled, 0 or less is folded."
    return _row("Jacobian map", text, view, paint, bar)


def before_after(
    path: str | os.PathLike[str], fixed: Image, moving_start: Image, warped: Image, geometry: Geometry
) -> None:
    """Write one PNG: fixed, edges of moving before, edges after; axial above coronal.

    Images (Z, Y, X) on `geometry`.  Raises InputError for an image on another grid, OutputError for a path that
    cannot be written.
    """
    view = scene(fixed, moving_start, warped, geometry)
    columns = {
        "fixed": _grey(view.fixed, view.fixed_window),
        "outlines of moving, before": _edges(view, view.before),
        "outlines of moving, after": _edges(view, view.after),
    }
    planes = [[plane] * len(columns) for plane in view.planes[:2]]
    figure = canvas(planes, list(columns.values()), titles=list(columns))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    with whole_file(path) as scratch:
        scratch.write_bytes(stream.getvalue())


def _row(title: str, text: str, view: Scene, paint: Paint, bar: Bar | None = None) -> Row:
    figure = canvas([list(view.planes)], [paint] * len(view.planes))
    stream = io.BytesIO()
    figure.savefig(stream, format="jpg", dpi=100, pil_kwargs={"quality": 90, "subsampling": 0})
    width, height = (round(v * 100) for v in figure.get_size_inches())
    uri = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
    return Row(title, text, uri, width, height, bar)


def _grey(image: Image, window: Window) -> Paint:
    return lambda axes, plane: show(axes, plane, window.grey(plane.cut(image)))


def _checkerboard(view: Scene, moving: Image) -> Paint:
    def paint(axes: Axes, plane: View) -> None:
        fixed = view.fixed_window.grey(plane.cut(view.fixed))
        show(axes, plane, checkerboard(plane, fixed, view.moving_window.grey(plane.cut(moving))))

    return paint


def _edges(view: Scene, moving: Image) -> Paint:
    def paint(axes: Axes, plane: View) -> None:
        show(axes, plane, view.fixed_window.grey(plane.cut(view.fixed)))
        outlines(axes, plane.cut(moving), view.moving_window)

    return paint


def _check_shape(name: str, array: Image, shape: tuple[int, ...]) -> None:
    if tuple(array.shape) != tuple(shape):
        raise InputError(f"{name} must have the fixed grid's shape {tuple(shape)}, got {tuple(array.shape)}")
