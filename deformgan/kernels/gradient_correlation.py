"""Gradient correlation of two images and its derivative by the first: two passes, nothing stored but the result.

Along each axis, over the differences of neighbours weighted by w (the product over the two voxels): n = sum w, and the
sums of dm, df and their products give rho, the NCC. Its derivative by one difference is w (p (df - mean df) +
q (dm - mean dm)), p = 1 / (n sd_m sd_f), q = - rho / (n var_m); a voxel takes that of the difference that ends in it
and less that of the one that begins in it. float32 or float64, as the images; the sums are float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Real = NDArray[np.floating]

_FLAT = 100.0  # times eps^2 of the mean square: a variance below is rounding


def gradient_correlation(
    warped: Real,
    fixed: Real,
    *,
    weight: Real | None = None,
    derivative: bool = True,
    times: float = 1.0,
    onto: Real | None = None,
) -> tuple[float, Real]:
    """(GC, `times` its derivative by warped, or an empty array); all (Z, Y, X) of one dtype, Z = 1 in 2-D.

    onto: what the derivative is added to, and returned.
    """
    real = warped.dtype.type
    w = np.empty((0, 0, 0), warped.dtype) if weight is None else np.ascontiguousarray(weight, warped.dtype)
    sums = np.zeros((warped.shape[0], 3, 6))
    _moments(warped, fixed, w, sums)
    axes = [a for a in range(3) if warped.shape[a] > 1]
    total, line, value = sums.sum(0), np.zeros((3, 3), warped.dtype), 0.0
    for a in axes:
        n, m, f, mm, ff, mf = total[a]
        if n <= 0:
            continue
        var_m, var_f, cross = mm / n - (m / n) ** 2, ff / n - (f / n) ** 2, mf / n - m * f / n**2
        least = _FLAT * np.finfo(real).eps ** 2
        if var_m <= least * mm / n or var_f <= least * ff / n:
            continue
        rho = cross / np.sqrt(var_m * var_f)
        value += rho / len(axes)
        p, q = 1 / (n * np.sqrt(var_m * var_f)), -rho / (n * var_m)
        line[a] = np.array([p, q, -p * f / n - q * m / n]) * times / len(axes)
    if not derivative:
        return value, np.empty(0, warped.dtype)
    out = np.zeros_like(warped) if onto is None else onto
    _slopes(warped, fixed, w, line, out)
    return value, out


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _neighbours(image, z, y, axis):
    """The row (z, y), and the one that follows it along z or y (itself at the end)."""
    if axis == 0:
        return image[z, y], image[min(z + 1, image.shape[0] - 1), y]
    return image[z, y], image[z, min(y + 1, image.shape[1] - 1)]


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _add(m0, m1, f0, f1, w0, w1, total):
    """Add a row of differences m1 - m0 and f1 - f0 to `total` (6,)."""
    real = m0.dtype.type
    n, sm, sf, mm, ff, mf = real(0), real(0), real(0), real(0), real(0), real(0)
    for x in range(len(m1)):
        w = w0[x] * w1[x]
        dm, df = m1[x] - m0[x], f1[x] - f0[x]
        n += w
        sm += w * dm
        sf += w * df
        mm += w * dm * dm
        ff += w * df * df
        mf += w * dm * df
    total[0] += n
    total[1] += sm
    total[2] += sf
    total[3] += mm
    total[4] += ff
    total[5] += mf


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _moments(warped, fixed, weight, sums):
    depth, height, width = warped.shape
    for plane in prange(depth):
        z = np.int64(plane)  # unsigned otherwise, and one less would be a float
        ones = np.ones(width, warped.dtype)
        total = sums[z]
        for y in range(height):
            for axis in range(2):
                if (axis == 0 and z + 1 < depth) or (axis == 1 and y + 1 < height):
                    m0, m1 = _neighbours(warped, z, y, axis)
                    f0, f1 = _neighbours(fixed, z, y, axis)
                    w0, w1 = _neighbours(weight, z, y, axis) if weight.shape[0] > 0 else (ones, ones)
                    _add(m0, m1, f0, f1, w0, w1, total[axis])
            m, f = warped[z, y], fixed[z, y]
            w = weight[z, y] if weight.shape[0] > 0 else ones
            _add(m[:-1], m[1:], f[:-1], f[1:], w[:-1], w[1:], total[2])


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _push(m0, m1, f0, f1, w0, w1, line, sign, out):
    """out += sign times the derivative by each difference of a row."""
    p, q, r = line[0] * sign, line[1] * sign, line[2] * sign
    for x in range(len(m1)):
        out[x] += w0[x] * w1[x] * (p * (f1[x] - f0[x]) + q * (m1[x] - m0[x]) + r)


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _slopes(warped, fixed, weight, line, out):
    depth, height, width = warped.shape
    real = warped.dtype.type
    for plane in prange(depth):
        z = np.int64(plane)  # unsigned otherwise, and one less would be a float
        ones = np.ones(width, warped.dtype)
        for y in range(height):
            row = out[z, y]
            for axis in range(2):
                last, at = (depth, z) if axis == 0 else (height, y)
                for back in range(2):  # the difference that begins here, then the one that ends here
                    if at - back < 0 or at - back + 1 >= last:
                        continue
                    k, j = (z - back, y) if axis == 0 else (z, y - back)
                    m0, m1 = _neighbours(warped, k, j, axis)
                    f0, f1 = _neighbours(fixed, k, j, axis)
                    w0, w1 = _neighbours(weight, k, j, axis) if weight.shape[0] > 0 else (ones, ones)
                    _push(m0, m1, f0, f1, w0, w1, line[axis], real(2 * back - 1), row)
            m, f = warped[z, y], fixed[z, y]
            w = weight[z, y] if weight.shape[0] > 0 else ones
            _push(m[:-1], m[1:], f[:-1], f[1:], w[:-1], w[1:], line[2], real(-1), row[:-1])
            _push(m[:-1], m[1:], f[:-1], f[1:], w[:-1], w[1:], line[2], real(1), row[1:])
