"""The interactive part of the page: NiiVue with its data, as one fragment that asks nothing of the network."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.report.contrast import body_centre, contrast_window
from deformgan.report.niivue import Bundle, installed_niivue
from deformgan.report.packed import (
    Block,
    ViewGrid,
    field_block,
    image_block,
    jacobian_block,
    labels_block,
    sizes_of,
)
from deformgan.report.ramps import Bar, displacement_bar
from deformgan.report.template import filled, text_of

if TYPE_CHECKING:
    from deformgan.io.geometry import Geometry

VOXELS = 2_500_000  # of the viewer's grid: more opens later than in 2 s where the browser has no GPU
MOST_CHARACTERS = 9_500_000  # of all arrays in the page; with NiiVue and the pictures it stays under 15 MB
_USUAL = 0.95  # characters that a voxel takes, of a noisy image: packed, then written as text
SAFE = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


@dataclass(frozen=True)
class Shown:
    """What the viewer shows on the fixed image's grid, each (Z, Y, X).

    images: by name, the fixed one first, then those to compare it with, the most telling first.  labels: whole numbers
    by name; the first is drawn solid, others dashed.  displacement: (Z, Y, X, 3) mm, LPS x y z.
    """

    images: Mapping[str, NDArray[np.float32]]
    displacement: NDArray[np.float32] | None = None
    jacobian: NDArray[np.float32] | None = None
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def viewer(shown: Shown, geometry: Geometry) -> Markup:
    """The fragment; empty where NiiVue is not installed.  Raises InputError for an array on another grid."""
    bundle = installed_niivue()
    for name, array in {**shown.images, **shown.labels}.items():
        if tuple(array.shape) != geometry.shape:
            raise InputError(f"{name} must have the fixed grid's shape {geometry.shape}, got {tuple(array.shape)}")
    if bundle is None or min(geometry.shape) < 2:
        return Markup("")
    arrays = len(shown.images) + (shown.jacobian is not None)
    voxels = min(VOXELS, int(MOST_CHARACTERS / (_USUAL * arrays)))
    while True:
        grid = ViewGrid.within(geometry, voxels)
        blocks, bars = _blocks(shown, grid)
        if sizes_of(blocks) <= MOST_CHARACTERS or voxels < 100_000:
            return _fragment(shown, grid, blocks, bars, bundle)
        voxels = int(voxels * min(0.8, MOST_CHARACTERS / sizes_of(blocks)))


def _blocks(shown: Shown, grid: ViewGrid) -> tuple[dict[str, Block], dict[str, Bar]]:
    """Every array by the id it gets in the page, and the bars of those that have colours."""
    blocks = {f"image-{k}": image_block(grid.shrunk(v), v) for k, v in enumerate(shown.images.values())}
    blocks |= {f"labels-{k}": labels_block(grid, v) for k, v in enumerate(shown.labels.values())}
    bars = {}
    if shown.displacement is not None:
        blocks["field"] = field_block(grid, shown.displacement)
        bars["field"] = displacement_bar(blocks["field"].about["longest"])
    if shown.jacobian is not None:
        blocks["jacobian"], bars["jacobian"] = jacobian_block(grid, shown.jacobian)
    return blocks, bars


def _fragment(shown: Shown, grid: ViewGrid, blocks: dict[str, Block], bars: dict[str, Bar], bundle: Bundle) -> Markup:
    names = {f"image-{k}": name for k, name in enumerate(shown.images)}
    names |= {f"labels-{k}": name for k, name in enumerate(shown.labels)}
    about: dict[str, Any] = {
        "grid": grid.about(),
        "centre": _centre(shown, grid),
        "blocks": {key: {"name": names.get(key, key), **block.about} for key, block in blocks.items()},
    }
    if "field" in bars:
        about["blocks"]["field"] |= {"high": bars["field"].high, "stops": bars["field"].stops}
    pictured = [
        (key, names[key], f"{block.about['step']:.3g}") for key, block in blocks.items() if "window" in block.about
    ]
    return filled(
        "viewer.html.j2",
        {
            "style": text_of("viewer.css"),
            "script": text_of("viewer.js"),
            "about": script_json(about),
            "texts": blocks,
            "niivue": Markup(base64.b64encode(bundle.packed).decode("ascii")),
            "bundle": bundle.name,
            "images": pictured,
            "labels": bool(shown.labels),
            "bars": bars,
            "resolution": _resolution(grid),
        },
    )


def script_json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in, nor open a comment there."""
    return Markup(json.dumps(value).translate(SAFE))


def _centre(shown: Shown, grid: ViewGrid) -> list[int]:
    """Index (right, anterior, superior) in the middle of the body of the fixed image."""
    fixed = next(iter(shown.images.values()))
    turned = grid.nearest(fixed)
    return [int(v) for v in body_centre(turned, contrast_window(turned))[::-1]]


def _resolution(grid: ViewGrid) -> str:
    """What the reader sees, beside what the file holds."""
    own, coarse = (f" {chr(215)} ".join(f"{v:.3g}" for v in g.spacing) for g in (grid.own, grid.coarse))
    if grid.coarse is grid.own:
        return f"Shown at full resolution, {own} mm."
    return f"Shown at {coarse} mm to keep this page small and quick; the image itself has {own} mm."
