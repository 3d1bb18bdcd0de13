"""How regular a transform is on a grid, and how well an inverse undoes it."""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, DisplacementField, Transform, slabs

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

CHECKED_POINTS = 20_000  # voxels at which an inverse is checked


def regularity(transform: Transform, grid: Geometry, mask: Mask | None = None) -> dict[str, float]:
    """folding_percent, min_jacobian, max_jacobian, sd_log_jacobian and affine_volume_factor, as in result.json.

    The Jacobian's determinant is that of the whole map at the voxels of `grid` (within `mask`, (Z, Y, X)), divided by
    the volume factor of its affine parts, which stands beside it.  Voxels that the map takes outside one of its fields
    do not count: there u = 0, and the jump is no fold.  Raises InputError where no voxel is left.
    """
    import torch

    from deformgan.spatial.jacobian import jacobian_determinant, regularity_of

    affines = [part.matrix for part in transform.parts if isinstance(part, Affine)]
    linear = reduce(lambda first, then: then @ first, affines, np.eye(4))
    volume = {"affine_volume_factor": float(np.linalg.det(linear[:3, :3]))}
    if len(affines) == len(transform.parts):
        return {"folding_percent": 0.0, "min_jacobian": 1.0, "max_jacobian": 1.0, "sd_log_jacobian": 0.0, **volume}
    where = _defined(transform, grid)
    if mask is not None:
        where = mask if where is None else where & mask
    if where is not None and not where.any():
        raise InputError(
            "the displacement field and the fixed grid (or the mask) share no voxel; are they of one case?"
        )
    voxels = _without(transform, linear).voxel_displacement_on(grid)
    determinant = jacobian_determinant(torch.from_numpy(voxels)[None])
    counted = None if where is None else torch.from_numpy(where)[None, None]
    return {**regularity_of(determinant, counted), **volume}


def inverse_error(
    transform: Transform, inverse: Transform, grid: Geometry, moving: Geometry | None = None, mask: Mask | None = None
) -> dict[str, float]:
    """inverse_error_mm as in result.json: mean, p95, max of |inverse(transform(x)) - x| at voxels x of `grid`.

    Of the voxels (in `mask`), evenly drawn, those count that land inside the grid `moving`, if it is given.
    """
    voxels = np.arange(int(np.prod(grid.shape))) if mask is None else np.flatnonzero(mask)
    voxels = voxels[np.linspace(0, len(voxels) - 1, min(len(voxels), CHECKED_POINTS)).astype(np.int64)]
    index = np.stack(np.unravel_index(voxels, grid.shape)[::-1], 1)
    points = index @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    if moving is not None and (inside := _inside(transform.apply(points), moving)).any():
        points = points[inside]
    error = transform.inverse_error_mm(inverse, points)
    return {"mean": float(error.mean()), "p95": float(np.percentile(error, 95)), "max": float(error.max())}


def _without(transform: Transform, linear: NDArray[np.float64]) -> Transform:
    """The map followed by the inverse of its affine parts' product: near the identity, its determinant divided."""
    whole = Transform((*transform.parts, *Transform((Affine(linear),)).inverse().parts)).merged()
    last = whole.parts[-1]
    if isinstance(last, Affine) and np.allclose(last.matrix, np.eye(4), atol=1e-9):
        return Transform(whole.parts[:-1])
    return whole


def _defined(transform: Transform, grid: Geometry) -> Mask | None:
    """(Z, Y, X): where a voxel and its neighbours stay inside every field on their way; None = everywhere."""
    from scipy.ndimage import binary_erosion

    fields = [part for part in transform.parts if isinstance(part, DisplacementField)]
    if len(fields) == 1 and _way_inside(transform, grid.corners).all():  # grid and lattice are convex
        return None
    inside = np.empty(grid.shape, bool)
    for start, stop, slab in slabs(grid):
        inside[start:stop] = _way_inside(transform, voxel_points(slab).reshape(-1, 3)).reshape(slab.shape)
    if inside.all():
        return None
    eroded: Mask = binary_erosion(inside, border_value=1)
    return eroded


def _way_inside(transform: Transform, points: Points) -> Mask:
    """(N,): whether points (N, 3) are inside the lattice of every field when they come to it."""
    inside = np.ones(len(points), bool)
    for part in transform.parts:
        if isinstance(part, DisplacementField):
            inside &= _inside(points, part.geometry)
        points = Transform((part,)).apply(points)
    return inside


def _inside(points: Points, grid: Geometry) -> Mask:
    """(N,): whether points (N, 3), LPS mm, lie in a voxel of `grid`."""
    index = points @ grid.inverse[:3, :3].T + grid.inverse[:3, 3]
    inside: Mask = ((index >= -0.5) & (index < np.array(grid.size) - 0.5)).all(1)
    return inside
