"""Joint histogram of two images under an affine map: sample and count in one pass, storing nothing of an image's size.

Tasks depend on the shape only, so any number of threads gives the same bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from deformgan.kernels.affine_sums import Double, Real, as_real, counted_row, row_bounds
from deformgan.kernels.parzen import count_row, place_row
from deformgan.kernels.warp import _sample_row


def affine_histogram(
    fixed: Real,
    moving: Real,
    matrix: Double,
    bins: int,
    *,
    weight: Real | None = None,
    seen: Real | None = None,
    border: bool = False,
) -> Double:
    """Joint histogram (bins, bins), fixed x moving, not normalised, as `joint_histogram` makes it, in one pass.

    fixed: whole bins, 0 to bins - 1; moving: in bins too, 1 to bins - 2. The rest as in `affine_sums`.
    """
    real = np.promote_types(fixed.dtype, np.float32)
    images = as_real(real, fixed, moving, weight, seen)
    matrix = np.ascontiguousarray(matrix, np.float64)[:3]
    found: Double = _histogram(*images, matrix, bins, border, row_bounds(fixed))
    return found


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _histogram(fixed, moving, weight, seen, matrix, bins, border, bounds):
    width, height = fixed.shape[2], fixed.shape[1]
    real = fixed.dtype.type
    flat, known = moving.ravel(), seen.ravel()
    slope, same = matrix[:, :3].astype(fixed.dtype), np.eye(3).astype(fixed.dtype)
    tables = np.zeros((len(bounds) - 1, bins * bins))
    for t in prange(len(bounds) - 1):
        still, no_slope = np.zeros((3, width), fixed.dtype), np.zeros((3, 0), fixed.dtype)
        cell, step = np.empty(width, np.int32), np.empty((3, width), np.int32)
        corner, within = np.empty((3, width), fixed.dtype), np.empty(width, np.bool_)
        start, value, here = np.empty(3, fixed.dtype), np.empty(width, fixed.dtype), np.empty(width, fixed.dtype)
        at, s, parts = np.empty(width, np.uint32), np.empty(width, fixed.dtype), np.empty((4, width), fixed.dtype)
        pair = np.zeros((2, bins * bins))
        for r in range(bounds[t], bounds[t + 1]):
            z, y = r // height, r % height
            if not counted_row(z, y, matrix, slope, still, moving.shape, border, weight, known, start, cell, step,
                                corner, within, here):  # fmt: skip
                continue
            _sample_row(flat, cell, step, corner, within, border, real(1), same, value, no_slope)
            place_row(fixed[z, y], value, real(1), real(1), bins, at, s)
            count_row(at, s, here, parts, pair)
        tables[t] = pair[0] + pair[1]
    return tables.sum(axis=0).reshape(bins, bins)
