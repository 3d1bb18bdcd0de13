"""The grid on which a warped image lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.grids import read_grid
from deformgan.warping.points import TOLERANCE_MM

Points = NDArray[np.float64]
Push = Callable[[Points], tuple[Points, Points]]

MOST_VOXELS = 1 << 32
_ALONG = 9  # points along each edge of the box that is brought over


def output_grid(
    reference: Any,
    image: Geometry,
    push: Push,
    *,
    spacing: float | Sequence[float] | None = None,
    size: Sequence[int] | None = None,
) -> Geometry:
    """The grid of `reference`, or one of another spacing or size over its box.

    reference: as `read_grid` takes it (a path, a Geometry, a Volume, ...), or None for the box of the grid `image`
    brought over by `push`, which takes points (N, 3) to (points, how far each misses).  spacing: mm, one or x, y, z;
    the box is covered and stays centred.  size: x, y, z voxels over the box.  Raises InputError.
    """
    if spacing is not None and size is not None:
        raise InputError("spacing and size both set the grid; give one of them")
    box = _brought(image, push) if reference is None else read_grid(reference)
    if size is not None:
        box = box.resized(_three(size, "size"))
    if spacing is not None:
        box = _respaced(box, _three(spacing, "spacing"))
    if np.prod(box.size, dtype=float) > MOST_VOXELS:
        raise InputError(f"the result would have {box.size} voxels; give a coarser spacing")
    return box


def _three(values: Any, name: str) -> Any:
    listed = np.ravel(np.asarray(values, dtype=float))
    listed = np.repeat(listed, 3) if listed.size == 1 else listed
    if listed.size != 3 or not np.isfinite(listed).all() or listed.min() <= 0:
        raise InputError(f"{name} must be one positive number or three (x,y,z), got {values}")
    return listed


def _respaced(box: Geometry, spacing: NDArray[np.float64]) -> Geometry:
    """The grid of that spacing whose voxels cover the box, around the same centre."""
    size = np.maximum(np.ceil(box.extent_mm / spacing - 1e-3), 1)
    if np.prod(size) > MOST_VOXELS:
        raise InputError(f"a spacing of {spacing.tolist()} mm would need {size.astype(int).tolist()} voxels; use more")
    matrix = box.matrix
    matrix[:3, :3] *= spacing / np.array(box.spacing)
    matrix[:3, 3] = box.centre - matrix[:3, :3] @ ((size - 1) / 2)
    return Geometry.from_matrix(matrix, [int(n) for n in size])


def _brought(image: Geometry, push: Push) -> Geometry:
    """The box along the axes of `image`, with its spacing, that holds all of it after `push`."""
    edges = [np.linspace(-0.5, n - 0.5, _ALONG) for n in image.size]
    index = np.stack(np.meshgrid(*edges, indexing="ij"), -1).reshape(-1, 3)
    moved, miss = push(index @ image.matrix[:3, :3].T + image.matrix[:3, 3])
    found = moved[miss <= TOLERANCE_MM]
    if len(found) < len(moved) / 2:
        raise InputError("the image's box cannot be brought over by this transform; name the grid with --reference")
    places = found @ image.inverse[:3, :3].T + image.inverse[:3, 3]
    low, high = places.min(0) + 0.5, places.max(0) - 0.5
    size = np.maximum(np.ceil(high - low - 1e-3), 0) + 1
    matrix = image.matrix
    matrix[:3, 3] = (matrix @ np.append((low + high) / 2 - (size - 1) / 2, 1.0))[:3]
    return Geometry.from_matrix(matrix, [int(n) for n in size])
