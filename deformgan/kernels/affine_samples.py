"""The moving image under an affine map, with its slopes there, kept for losses that no single pass can tell.

Such a loss (of neighbours, of a histogram) needs the whole warped image before its derivative d by any voxel is known.
The slopes g of the samples are kept beside them, so that the derivative by the matrix, the sum of d g (p, 1)^T over the
voxels p, needs no second sampling. Rows are shared out as in `affine_sums`.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from deformgan.kernels.affine_sums import (
    Double,
    Real,
    add_row,
    as_real,
    counted_row,
    row_bounds,
    sloped_row,
    slopes_as_real,
)


class AffineSamples:
    """Samples of a moving image on one grid, in memory that every call uses again.

    warped, weight: (Z, Y, X), the samples and how much each counts.  slopes: (Z, Y, 3, X), d warped / d (z, y, x) in
    voxels of the moving image, 0 at voxels outside it unless `border`.
    """

    def __init__(
        self,
        moving: Real,
        shape: tuple[int, ...],
        *,
        weight: Real | None = None,
        seen: Real | None = None,
        slopes: Real | None = None,
        border: bool = False,
    ) -> None:
        """moving: (Z', Y', X').  weight, seen, slopes, border: as `affine_sums` takes them."""
        real = np.promote_types(moving.dtype, np.float32)
        self._images, self._rises = as_real(real, moving, weight, seen), slopes_as_real(real, slopes)
        self._border = border
        self.warped, self.weight = np.empty(shape, real), np.empty(shape, real)
        self.slopes = np.empty((*shape[:2], 3, shape[2]), real)
        self._bounds = row_bounds(self.warped)

    def sample(self, matrix: Double) -> None:
        """Under a map (3, 4) or (4, 4), index of the grid -> index of the moving image, z y x.

        Voxels outside the moving image read its border.
        """
        pose = np.ascontiguousarray(matrix, np.float64)[:3]
        _sample(*self._images, self._rises, pose, self._border, self._bounds, self.warped, self.weight, self.slopes)

    def by_matrix(self, by_warped: Real) -> Double:
        """Derivative (3, 4) of a loss by the map of the last call; by_warped: (Z, Y, X), that by each sample."""
        found: Double = _gather(np.ascontiguousarray(by_warped, self.warped.dtype), self.slopes, self._bounds)
        return found


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _sample(moving, weight, seen, rises, matrix, border, bounds, warped, weights, slopes):
    height, width = warped.shape[1:]
    dtype = warped.dtype
    real = dtype.type
    flat, known = moving.ravel(), seen.ravel()
    slope, same = matrix[:, :3].astype(dtype), np.eye(3).astype(dtype)
    for t in prange(len(bounds) - 1):
        still, none = np.zeros((3, width), dtype), np.zeros((3, 0), dtype)
        cell, step = np.empty(width, np.int32), np.empty((3, width), np.int32)
        corner, within, start = np.empty((3, width), dtype), np.empty(width, np.bool_), np.empty(3, dtype)
        for r in range(bounds[t], bounds[t + 1]):
            z, y = r // height, r % height
            value, here, g = warped[z, y], weights[z, y], slopes[z, y]
            counted_row(z, y, matrix, slope, still, moving.shape, border, weight, known, start, cell, step, corner,
                        within, here)  # fmt: skip
            sloped_row(flat, rises, cell, step, corner, within, True, same, none, value, g)
            if not border:
                for i in range(3):
                    for x in range(width):
                        g[i, x] = g[i, x] if within[x] else real(0)


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _gather(by_warped, slopes, bounds):
    height = by_warped.shape[1]
    sums = np.zeros((len(bounds) - 1, 3, 4))
    for t in prange(len(bounds) - 1):
        for r in range(bounds[t], bounds[t + 1]):
            z, y = r // height, r % height
            add_row(by_warped[z, y], slopes[z, y], z, y, sums[t])
    return sums.sum(axis=0)
