"""Pictures of one person of a study: the MR, the real CT, and what every arm made of it with its error."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from deformgan.report.contrast import Window, body_centre, contrast_window
from deformgan.report.orientation import Grid, Orientation, View, radiological_views
from deformgan.report.panels import WIDTH, Paint, canvas, outlines, show
from deformgan.report.ramps import Bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Image = NDArray[Any]
Pixels = NDArray[np.uint8]

COLUMNS, DPI = 4, 150
MARGIN_MM = 8.0  # left around the body
LETTERS = 24  # of a title
_STOPS = ("#a8e0ff", "#46a6ee", "#1f66ab", "#0b0d10", "#9c4413", "#ec7f30", "#ffdba6")  # too dark ... right ... bright
_UNMEASURED = 0.30  # grey where nothing is measured
_LIMITS_HU = (50.0, 100.0, 150.0, 200.0, 300.0, 400.0, 500.0)


@dataclass(frozen=True, eq=False)
class Person:
    """Images (Z, Y, X) on `grid`: the MR, the real CT or None, CT made by arm, where both real ones show something."""

    name: str
    grid: Grid
    mr: Image
    real: Image | None
    made: Mapping[str, Image]
    mask: NDArray[np.bool_] | None = None


def error_bar(people: Sequence[Person], window: tuple[float, float]) -> Bar:
    """One colour bar for all of them, wide enough for 98 % of the voxels whose error is not nought."""
    found = [np.zeros(1)]
    for person in people:
        if person.real is not None:
            errors = (np.abs(_error(made, person.real, window)[::2, ::2, ::2]).ravel() for made in person.made.values())
            found += [e[e >= 1] for e in errors]
    far = float(np.percentile(np.concatenate(found), 98))
    limit = min((v for v in _LIMITS_HU if v >= far), default=_LIMITS_HU[-1])
    marks = (-limit, -limit / 2, 0.0, limit / 2, limit)
    ticks = tuple((50 + 50 * m / limit, f"{m:+g}" if m else "0") for m in marks)
    return Bar(_STOPS, 0.0, 2 * limit, ticks, "HU")  # its values are errors + limit


def error_maps(person: Person, plane: str, window: tuple[float, float], bar: Bar) -> Pixels:
    """(rows, columns, 4): a slice of `plane` through the body's middle; real images above, the arms below in pairs.

    Errors are made - real, both clipped to `window` HU.  Without a real CT there is no error to show.
    """
    view, cut = _slice(person, plane)
    grey = Window(*window, contours=window)
    mr = partial(_grey, cut(person.mr), contrast_window(person.mr))
    top: dict[str, Paint] = {"MR": mr}
    bottom: dict[str, Paint] = {}
    if person.real is not None:
        real = person.real
        top["real CT"] = partial(_grey, cut(real), grey)
        top["MR, outlines of the CT"] = partial(_outlined, mr, cut(real), contrast_window(real))
    if person.mask is not None:
        top["what counts"] = partial(_counted, cut(person.mr), contrast_window(person.mr), cut(person.mask))
    for arm, made in person.made.items():
        name = _shortened(arm)
        bottom[name] = partial(_grey, cut(made), grey)
        if person.real is not None:
            error = _error(cut(made), cut(person.real), window)
            seen = None if person.mask is None else cut(person.mask)
            bottom[f"{name}: error"] = partial(_coloured, error, seen, bar)
    parts = [_row(view, part) for part in (top, *_chunks(bottom))]
    return np.concatenate(parts if person.real is None else [*parts, _bar(bar)])


def encoded(picture: Pixels, ending: str) -> bytes:
    """As "png" or "jpg"."""
    stream = io.BytesIO()
    options = {"quality": 90, "subsampling": 0} if ending == "jpg" else {}
    imsave(stream, picture if ending == "png" else picture[..., :3].copy(), format=ending, pil_kwargs=options)
    return stream.getvalue()


def _slice(person: Person, plane: str) -> tuple[View, Any]:
    """The view, and what cuts it out of an image, both around the body only."""
    orientation = Orientation.of(person.grid)
    reference = orientation.turn(person.mr if person.real is None else person.real)
    window = contrast_window(reference)
    body = reference > window.contours[0]
    box = tuple(_span(body, axis, orientation.spacing[axis]) for axis in range(3))
    centre = body_centre(reference[box], window)
    shape = reference[box].shape
    view = next(v for v in radiological_views(orientation, shape, centre) if v.name == plane)
    return view, lambda image: view.cut(orientation.turn(image)[box])


def _span(body: NDArray[np.bool_], axis: int, spacing: float) -> slice:
    """Of the body along an axis, with a margin; all where there is none."""
    there = np.flatnonzero(body.any(axis=tuple(a for a in range(3) if a != axis)))
    if not len(there):
        return slice(None)
    margin = round(MARGIN_MM / spacing)
    return slice(max(0, there[0] - margin), there[-1] + margin + 1)


def _error(made: Image, real: Image, window: tuple[float, float]) -> NDArray[np.float32]:
    off: NDArray[np.float32] = np.clip(made, *window).astype(np.float32) - np.clip(real, *window).astype(np.float32)
    return off


def _grey(cut: Image, window: Window, axes: Axes, plane: View) -> None:
    show(axes, plane, window.grey(cut))


def _outlined(below: Paint, cut: Image, window: Window, axes: Axes, plane: View) -> None:
    below(axes, plane)
    outlines(axes, cut, window)


def _counted(cut: Image, window: Window, mask: NDArray[np.bool_], axes: Axes, plane: View) -> None:
    grey = window.grey(cut)[..., None]
    show(axes, plane, np.where(mask[..., None], grey * np.array([0.75, 1.0, 0.8], np.float32), grey * 0.4 + 0.15))


def _coloured(error: Image, mask: NDArray[np.bool_] | None, bar: Bar, axes: Axes, plane: View) -> None:
    colours = bar.colours(np.nan_to_num(error) + bar.high / 2)
    show(axes, plane, colours if mask is None else np.where(mask[..., None], colours, np.float32(_UNMEASURED)))


def _row(view: View, paints: Mapping[str, Paint]) -> Pixels:
    """One row of COLUMNS views; places without a picture stay empty."""
    missing = COLUMNS - len(paints)
    figure = canvas([[view] * COLUMNS], [*paints.values(), *[None] * missing], [*paints, *[""] * missing])
    return _pixels(figure)


def _bar(bar: Bar) -> Pixels:
    """A strip with the ramp, its ticks, and what it says."""
    figure = Figure(figsize=(WIDTH / 100, 0.8), dpi=100, facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.25, 0.62, 0.5, 0.16))
    ramp = bar.colours(np.linspace(bar.low, bar.high, 512))
    axes.imshow(ramp[None], aspect="auto", extent=(0, 100, 0, 1))
    axes.set_xticks([place for place, _ in bar.ticks], [text for _, text in bar.ticks], color="#b9c4d0", fontsize=10.5)
    axes.set_yticks([])
    axes.tick_params(axis="x", color="#b9c4d0", length=3)
    words = f"error: made minus real CT, {bar.unit}, both clipped to the window"
    figure.text(0.5, 0.1, words, color="#b9c4d0", fontsize=10.5, ha="center", va="bottom")
    return _pixels(figure)


def _pixels(figure: Figure) -> Pixels:
    figure.set_dpi(DPI)
    agg = FigureCanvasAgg(figure)
    agg.draw()
    return np.asarray(agg.buffer_rgba()).copy()


def _chunks(paints: Mapping[str, Paint]) -> list[dict[str, Paint]]:
    items = list(paints.items())
    return [dict(items[k : k + COLUMNS]) for k in range(0, len(items), COLUMNS)]


def _shortened(arm: str) -> str:
    words = arm.replace("_", " ")
    return words if len(words) <= LETTERS else words[: LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
