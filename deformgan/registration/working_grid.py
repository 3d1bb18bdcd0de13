"""The grid on which T sees a pair: cubic voxels, axes that run as in every other pair, over what both images show."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.registration.appearance import Appearance
from deformgan.spatial.grid import index_matrix, reversed_axes
from deformgan.spatial.warp import warp_through

FEWEST = 8  # voxels along an axis
MOST_VOXELS = 1 << 28
MARGIN_MM = 10.0  # beyond what both show


def working_grid(fixed: Geometry, moving: Geometry, matrix: NDArray[np.float64], spacing_mm: float) -> Geometry:
    """Cubic voxels of `spacing_mm`, axes those of `fixed` in the order and sense nearest to LPS.

    It covers the part of the fixed field of view that the moving one reaches under `matrix` (4x4, fixed -> moving
    point, LPS mm), and MARGIN_MM around it.
    """
    axes = _lps_axes(fixed)
    corners = fixed.corners @ axes
    low, high = corners.min(0), corners.max(0)
    back = np.linalg.inv(matrix)
    seen = (moving.corners @ back[:3, :3].T + back[:3, 3]) @ axes
    first, last = np.maximum(low, seen.min(0) - MARGIN_MM), np.minimum(high, seen.max(0) + MARGIN_MM)
    if (last - first < FEWEST * spacing_mm).any():
        first, last = low, high
    size = np.maximum(FEWEST, np.round((last - first) / spacing_mm).astype(np.int64) + 1)
    if np.prod(size, dtype=float) > MOST_VOXELS:
        raise InputError(f"a working grid of {spacing_mm:g} mm would have {size.tolist()} voxels; use larger ones")
    grid = np.eye(4)
    grid[:3, :3] = axes * spacing_mm
    grid[:3, 3] = axes @ ((first + last) / 2 - (size - 1) / 2 * spacing_mm)
    return Geometry.from_matrix(grid, size.tolist())


def _lps_axes(geometry: Geometry) -> NDArray[np.float64]:
    """(3, 3): columns are the grid's own directions, reordered and turned so that each is nearest to x, y, z of LPS."""
    from scipy.optimize import linear_sum_assignment

    cosines = np.array(geometry.direction).reshape(3, 3)
    _, order = linear_sum_assignment(-np.abs(cosines))
    chosen: NDArray[np.float64] = cosines[:, order]
    return chosen * np.where(np.diag(chosen) < 0, -1.0, 1.0)


def on_grid(image: Appearance, grid: Geometry, matrix: NDArray[np.float64] | None = None) -> tuple[Tensor, Tensor]:
    """(image, valid), each (1, 1, Z, Y, X): `image` smoothed to the grid's voxels and read where `matrix` sends them.

    valid: 1 where the image has a value, within its mask if it has one; outside, the image is 0.
    """
    small = image.at(min(grid.spacing))
    to_image = reversed_axes(index_matrix(grid, small.geometry, matrix))
    still = torch.zeros(1, 3, *grid.shape, device=image.image.device)
    values, inside = warp_through(small.image, to_image, still, 1, grid.shape)
    if small.valid is None:
        return values, inside.float()
    known, _ = warp_through(small.valid, to_image, still, 1, grid.shape)
    return values, inside * (known >= 0.5).float()
