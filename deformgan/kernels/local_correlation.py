"""Local correlation of two 3-D images over a box, and its derivative by the first, in one pass.

Over the voxels of a window (weights w, n = sum w; a, b the means of m and f): cross = sum w (m - a)(f - b), B = sum
w (m - a)^2 + floor * n, C likewise of f, and rho = cross / sqrt(B C), or its square.  With p = d rho / d cross,
q = p cross / B and r = p b - q a of each window, the derivative at a voxel is w (f S(p) - m S(q) - S(r)), S the sum
over the windows that hold it.  So both ways are box sums; the planes of p, q, r live in a ring as deep as the box.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from deformgan.kernels.box import (
    NONE,
    box_sum,
    put_blank,
    put_row,
    slab_bounds,
    slide_rows,
    sum_along_row,
    total_weight,
    window_counts,
    window_weights,
)

Float = NDArray[np.float32]


class FixedWindows(NamedTuple):
    """What the windows of the fixed image give once and for all; every array (Z, Y, X) float32."""

    image: Float  # shifted by its mean, divided by its standard deviation
    mean: Float  # of each window
    precision: Float  # 1 / (sum of squared deviations in the window + floor * voxels in it)


def shift_and_scale(image: Float) -> tuple[float, float]:
    """Mean and 1 / standard deviation of every third voxel, about; a constant image has scale 1."""
    some = image[tuple(slice(n % 3 // 2, None, 3) for n in image.shape)].astype(np.float64)
    spread = float(some.std())
    return float(some.mean()), 1 / spread if spread > 1e-20 else 1.0


def fixed_windows(fixed: Float, size: int, floor: float) -> FixedWindows:
    """Windows of size^3 (odd) of fixed (Z, Y, X); floor is a share of the image's variance."""
    shift, scale = shift_and_scale(fixed)
    image = (fixed - np.float32(shift)) * np.float32(scale)
    sums = box_sum(np.stack([image, image * image]), size)
    nz, ny, nx = (window_counts(size, n) for n in fixed.shape)
    count = nz[:, None, None] * ny[:, None] * nx
    mean = sums[0] / count
    return FixedWindows(image, mean, 1 / (np.maximum(sums[1] - sums[0] * mean, 0) + np.float32(floor) * count))


def local_correlation(
    warped: Float,
    fixed: FixedWindows,
    size: int,
    *,
    floor: float,
    squared: bool = True,
    mask: Float | None = None,
    weight: Float | None = None,
    derivative: bool = True,
    times: float = 1.0,
) -> tuple[float, Float]:
    """Mean of the local correlation of warped (Z, Y, X) with the fixed image, and `times` its derivative by warped.

    The derivative is (Z, Y, X), or empty if not wanted; a weight is held constant in it.
    mask: weight of each window in the mean; weight: of each voxel within the windows, and of its window as well.
    """
    w, outer = NONE if weight is None else weight, NONE if mask is None else mask
    gradient = np.zeros(warped.shape if derivative else (0, 0, 0), np.float32)
    bounds = slab_bounds(warped.shape[0])
    share = total_weight(warped.shape, w, outer, bounds)
    if share <= 0:
        return 0.0, gradient
    moments = np.array(shift_and_scale(warped), np.float32)
    counts = tuple(window_counts(size, n) for n in warped.shape)
    factor, windows = (np.float32(times * moments[1] / share), (fixed.mean, fixed.precision))
    total = _correlate(
        warped, moments, fixed.image, windows, w, outer, counts, size // 2, np.float32(floor), squared, bounds, factor,
        gradient,
    )  # fmt: skip
    return total / share, gradient


@njit(nogil=True, fastmath=True, error_model="numpy")
def _slide_row(sums, y, m_new, f_new, m_old, f_old, shift, scale):
    """Add the products m, m^2, m f of one new row to the sums along z and take those of the old row away."""
    s_m, s_mm, s_mf = sums[0, y], sums[1, y], sums[2, y]
    for x in range(len(m_new)):
        m, k = (m_new[x] - shift) * scale, (m_old[x] - shift) * scale
        s_m[x] += m - k
        s_mm[x] += m * m - k * k
        s_mf[x] += m * f_new[x] - k * f_old[x]


@njit(nogil=True, fastmath=True, error_model="numpy")
def _slide_weighted_row(sums, y, m_row, f_row, w_row, shift, scale, sign):
    """Add (sign 1) or take away (-1) the weighted products m, m^2, m f, 1, f, f^2 of one row."""
    s_m, s_mm, s_mf, s_w, s_f, s_ff = (sums[0, y], sums[1, y], sums[2, y], sums[3, y], sums[4, y], sums[5, y])
    for x in range(len(m_row)):
        w, f = sign * w_row[x], f_row[x]
        m = (m_row[x] - shift) * scale
        wm, wf = w * m, w * f
        s_m[x] += wm
        s_mm[x] += wm * m
        s_mf[x] += wm * f
        s_w[x] += w
        s_f[x] += wf
        s_ff[x] += wf * f


@njit(nogil=True, fastmath=True, error_model="numpy")
def _slide_planes(sums, warped, fixed, weight, shift_scale, enter, leave, still, blank):
    """Let plane `enter` into the sums along z and plane `leave` out; -1 for none: still, blank are rows of m, f = 0."""
    shift, scale, one = shift_scale[0], shift_scale[1], np.float32(1)
    for y in range(warped.shape[1]):
        if weight.shape[0] > 0:
            if enter >= 0:
                _slide_weighted_row(sums, y, warped[enter, y], fixed[enter, y], weight[enter, y], shift, scale, one)
            if leave >= 0:
                _slide_weighted_row(sums, y, warped[leave, y], fixed[leave, y], weight[leave, y], shift, scale, -one)
        else:
            m_new, f_new = (warped[enter, y], fixed[enter, y]) if enter >= 0 else (still, blank)
            m_old, f_old = (warped[leave, y], fixed[leave, y]) if leave >= 0 else (still, blank)
            _slide_row(sums, y, m_new, f_new, m_old, f_old, shift, scale)


@njit(inline="always", fastmath=True, error_model="numpy")
def _correlation(cross, variance, precision, squared):
    """rho or rho^2, its derivative by `cross`, and minus that by m's variance sum, doubled."""
    if squared:
        p = cross * precision / variance
        rho = p * cross
        p = p + p
    else:
        p = np.sqrt(precision / variance)
        rho = p * cross
    return rho, p, p * cross / variance


@njit(nogil=True, fastmath=True, error_model="numpy")
def _plain_row(box, mean, precision, count, count_x, floor, squared, outer, planes):
    """Sum of the correlations of one row of windows; their p, q, r go into planes (3, X)."""
    total = np.float32(0)
    b_m, b_mm, b_mf = box[0], box[1], box[2]
    p_row, q_row, r_row = planes[0], planes[1], planes[2]
    zero = np.float32(0)
    for x in range(len(count_x)):
        n = count * count_x[x]
        a = b_m[x] / n
        cross = b_mf[x] - b_m[x] * mean[x]
        variance = max(b_mm[x] - b_m[x] * a, zero) + floor * n
        rho, p, q = _correlation(cross, variance, precision[x], squared)
        p, q = p * outer[x], q * outer[x]
        total += rho * outer[x]
        p_row[x], q_row[x], r_row[x] = p, q, p * mean[x] - q * a
    return total


@njit(nogil=True, fastmath=True, error_model="numpy")
def _weighted_row(box, floor, squared, outer, planes):
    """As _plain_row with all six sums in `box`; a window of no weight counts as uncorrelated."""
    total = np.float32(0)
    b_m, b_mm, b_mf, b_w, b_f, b_ff = box[0], box[1], box[2], box[3], box[4], box[5]
    p_row, q_row, r_row = planes[0], planes[1], planes[2]
    zero, least = np.float32(0), np.float32(1e-3)
    for x in range(box.shape[1]):
        n = max(b_w[x], least)
        a, b = b_m[x] / n, b_f[x] / n
        cross = b_mf[x] - b_m[x] * b
        variance = max(b_mm[x] - b_m[x] * a, zero) + floor * n
        precision = 1 / (max(b_ff[x] - b_f[x] * b, zero) + floor * n)
        rho, p, q = _correlation(cross, variance, precision, squared)
        p, q = p * outer[x], q * outer[x]
        total += rho * outer[x]
        p_row[x], q_row[x], r_row[x] = p, q, p * b - q * a
    return total


@njit(nogil=True, fastmath=True, error_model="numpy")
def _gradient_plane(ring_sums, warped, fixed, weight, shift_scale, factor, reach, out):
    """Derivative of one plane (Y, X) from the sums along z of p, q, r; weight (Y, X) or empty."""
    width = out.shape[1]
    shift, scale = shift_scale[0], shift_scale[1]
    rows, box = np.zeros((3, width)), np.empty((3, width), np.float32)
    line = np.zeros(width + 2 * reach, np.float32)
    for y in range(-reach, out.shape[0]):
        slide_rows(ring_sums, rows, y, reach)
        if y < 0:
            continue
        sum_along_row(rows, line, reach, box)
        s_p, s_q, s_r, m_row, f_row, o_row = (box[0], box[1], box[2], warped[y], fixed[y], out[y])
        for x in range(width):
            o_row[x] = factor * (f_row[x] * s_p[x] - (m_row[x] - shift) * scale * s_q[x] - s_r[x])
        if weight.shape[0] > 0:
            for x in range(width):
                o_row[x] *= weight[y, x]


@njit(nogil=True, fastmath=True, error_model="numpy")
def _window_plane(sums, z, windows, weight, mask, counts, floor, squared, reach, slot, ring_sums):
    """Sum of the correlations of the windows of plane z from the sums along z; their p, q, r go into the ring."""
    kinds, height, width = sums.shape
    mean, precision, (n_z, n_y, n_x) = windows[0], windows[1], counts
    rows, box, line = (
        np.zeros((kinds, width)),
        np.empty((kinds, width), np.float32),
        np.zeros(width + 2 * reach, np.float32),
    )
    outer, fresh = np.ones(width, np.float32), np.empty((3, width), np.float32)
    total = 0.0
    for y in range(-reach, height):
        slide_rows(sums, rows, y, reach)
        if y < 0:
            continue
        sum_along_row(rows, line, reach, box)
        if weight.shape[0] > 0 or mask.shape[0] > 0:
            window_weights(weight, mask, z, y, outer)
        if weight.shape[0] > 0:
            total += _weighted_row(box, floor, squared, outer, fresh)
        else:
            n = n_z[z] * n_y[y]
            total += _plain_row(box, mean[z, y], precision[z, y], n, n_x, floor, squared, outer, fresh)
        if ring_sums.shape[0] > 0:
            put_row(ring_sums, slot, fresh, y)
    return total


@njit(nogil=True, fastmath=True, error_model="numpy")
def _correlate_slab(
    first, last, warped, shift_scale, fixed, windows, weight, mask, counts, reach, floor, squared, factor, gradient
):
    """Sum of the correlations of the windows of planes first..last - 1, and the derivative there unless empty."""
    depth, height, width = warped.shape
    wanted, size = gradient.shape[0] > 0, 2 * reach + 1
    low, high = (max(first - reach, 0), min(last + reach, depth)) if wanted else (first, last)
    start = max(low - reach, 0)
    sums = np.zeros((6 if weight.shape[0] > 0 else 3, height, width))
    ring = np.zeros((size if wanted else 1, 3, height, width), np.float32)
    ring_sums = np.zeros((3 if wanted else 0, height, width))
    blank = np.zeros((3, width), np.float32)
    still = np.full(width, shift_scale[0], np.float32)
    total = 0.0
    for z in range(start - reach, last + reach if wanted else last):
        if z < high:
            enter = z + reach if z + reach < depth else -1
            leave = z - reach - 1 if z - reach - 1 >= start else -1
            _slide_planes(sums, warped, fixed, weight, shift_scale, enter, leave, still, blank[0])
        if z < low:
            continue
        slot = ring[z % len(ring)]
        if z < high:
            value = _window_plane(sums, z, windows, weight, mask, counts, floor, squared, reach, slot, ring_sums)
            total += value if first <= z < last else 0.0
        else:
            put_blank(ring_sums, slot, blank)
        p = z - reach
        if wanted and first <= p < last:
            w = weight[p] if weight.shape[0] > 0 else fixed[p, :0]
            _gradient_plane(ring_sums, warped[p], fixed[p], w, shift_scale, factor, reach, gradient[p])
    return total


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _correlate(
    warped, shift_scale, fixed, windows, weight, mask, counts, reach, floor, squared, bounds, factor, gradient
):
    totals = np.zeros(len(bounds) - 1)
    for t in prange(len(bounds) - 1):
        totals[t] = _correlate_slab(
            bounds[t], bounds[t + 1], warped, shift_scale, fixed, windows, weight, mask, counts, reach, floor, squared,
            factor, gradient,
        )  # fmt: skip
    return totals.sum()
