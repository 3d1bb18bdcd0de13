"""Local correlation of two 3-D images over a box, and its derivative by the first, in one pass.

Over the voxels of a window (weights w, n = sum w; a, b the means of m and f): cross = sum w (m - a)(f - b), B = sum
w (m - a)^2 + floor * n, C likewise of f, and rho = cross / sqrt(B C), or its square.  With p = d rho / d cross,
q = p cross / B and r = p b - q a of each window, the derivative at a voxel is w (f S(p) - m S(q) - S(r)), S the sum
over the windows that hold it.  So both ways are box sums; the planes of p, q, r live in a ring as deep as the box.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from deformgan.kernels.box import (
    NONE,
    box_sum,
    put_span,
    slab_bounds,
    sum_window_row,
    total_weight,
    window_counts,
    window_weights,
)
from deformgan.kernels.scale import shift_and_scale
from deformgan.kernels.spans import Spans, hull, span_of, whole

Float = NDArray[np.float32]


@dataclass(frozen=True)
class FixedWindows:
    """What the windows of the fixed image give once and for all; every array (Z, Y, X) float32.

    image: shifted by its mean, divided by its standard deviation.  size: of the windows.  floor: share of the variance.
    """

    image: Float
    size: int
    floor: float

    @cached_property
    def moments(self) -> tuple[Float, Float]:
        """Mean of each window and 1 / (sum of squared deviations + floor * voxels in it); a weight has its own."""
        sums = box_sum(np.stack([self.image, self.image * self.image]), self.size)
        nz, ny, nx = (window_counts(self.size, n) for n in self.image.shape)
        count = nz[:, None, None] * ny[:, None] * nx
        mean = sums[0] / count
        return mean, 1 / (np.maximum(sums[1] - sums[0] * mean, 0) + np.float32(self.floor) * count)


def fixed_windows(fixed: Float, size: int, floor: float) -> FixedWindows:
    """Windows of size^3 (odd) of fixed (Z, Y, X); floor is a share of the image's variance."""
    shift, scale = shift_and_scale(fixed)
    return FixedWindows((fixed - np.float32(shift)) * np.float32(scale), size, floor)


def local_correlation(
    warped: Float,
    fixed: FixedWindows,
    *,
    squared: bool = True,
    mask: Float | None = None,
    weight: Float | None = None,
    spans: Spans | None = None,
    derivative: bool = True,
    times: float = 1.0,
    onto: Float | None = None,
) -> tuple[float, Float]:
    """Mean of the local correlation of warped (Z, Y, X) with the fixed image, and `times` its derivative by warped.

    The derivative is (Z, Y, X), added `onto` an array where one is given, or empty if not wanted; a weight is held
    constant in it.
    mask: weight of each window in the mean; weight: of each voxel within the windows, and of its window as well.
    spans: beyond these the weight is zero, and the derivative is left as it is.
    """
    w, outer = NONE if weight is None else weight, NONE if mask is None else mask
    spans = whole(warped.shape) if spans is None or weight is None else spans
    gradient = onto if onto is not None else np.zeros(warped.shape if derivative else (0, 0, 0), np.float32)
    share = total_weight(warped.shape, w, outer, slab_bounds(warped.shape[0]))
    if share <= 0:
        return 0.0, gradient
    bounds = slab_bounds(warped.shape[1])
    moments = np.array(shift_and_scale(warped), np.float32)
    counts = tuple(window_counts(fixed.size, n) for n in warped.shape)
    factor, windows = np.float32(times * moments[1] / share), fixed.moments if weight is None else (NONE, NONE)
    total = _correlate(
        warped, moments, fixed.image, windows, w, outer, spans, counts, fixed.size // 2, np.float32(fixed.floor),
        squared, bounds, factor, gradient,
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
def _slide_weighted_row(sums, y, first, last, m_new, f_new, w_new, m_old, f_old, w_old, shift, scale):
    """As _slide_row, of voxels first..last - 1, with the weighted products m, m^2, m f, 1, f, f^2."""
    s_m, s_mm, s_mf, s_w, s_f, s_ff = (sums[0, y], sums[1, y], sums[2, y], sums[3, y], sums[4, y], sums[5, y])
    for x in range(first, last):
        w, f, m = w_new[x], f_new[x], (m_new[x] - shift) * scale
        v, g, k = w_old[x], f_old[x], (m_old[x] - shift) * scale
        wm, vk, wf, vg = w * m, v * k, w * f, v * g
        s_m[x] += wm - vk
        s_mm[x] += wm * m - vk * k
        s_mf[x] += wm * f - vk * g
        s_w[x] += w - v
        s_f[x] += wf - vg
        s_ff[x] += wf * f - vg * g


@njit(nogil=True, fastmath=True, error_model="numpy")
def _slide_planes(sums, top, warped, fixed, weight, spans, shift_scale, enter, leave, still, blank):
    """Let plane `enter` into the sums along z and plane `leave` out; -1 for none: still, blank are rows of m, f = 0.

    sums: (K, rows, X), of the rows from `top` on.
    """
    shift, scale, nothing = shift_scale[0], shift_scale[1], (np.uint64(0), np.uint64(0))
    for k in range(sums.shape[1]):
        y = top + k
        m_new, f_new = (warped[enter, y], fixed[enter, y]) if enter >= 0 else (still, blank)
        m_old, f_old = (warped[leave, y], fixed[leave, y]) if leave >= 0 else (still, blank)
        if weight.shape[0] == 0:
            _slide_row(sums, k, m_new, f_new, m_old, f_old, shift, scale)
            continue
        here = span_of(spans, enter, y) if enter >= 0 else nothing
        gone = span_of(spans, leave, y) if leave >= 0 else nothing
        first, last = hull(here, gone)
        if first < last:
            w_new, w_old = weight[enter, y] if enter >= 0 else blank, weight[leave, y] if leave >= 0 else blank
            _slide_weighted_row(sums, k, first, last, m_new, f_new, w_new, m_old, f_old, w_old, shift, scale)


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
def _weighted_row(box, first, last, floor, squared, outer, planes):
    """As _plain_row of first..last - 1, with all six sums in `box`; a window of no weight counts as uncorrelated."""
    total = np.float32(0)
    b_m, b_mm, b_mf, b_w, b_f, b_ff = box[0], box[1], box[2], box[3], box[4], box[5]
    p_row, q_row, r_row = planes[0], planes[1], planes[2]
    zero, least = np.float32(0), np.float32(1e-3)
    for x in range(first, last):
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
def _gradient_plane(ring_sums, low, first, last, z, warped, fixed, weight, spans, shift_scale, factor, reach, out):
    """Add the derivative by rows first..last - 1 of plane z to `out`; weight may be empty.

    ring_sums: sums along z of p, q, r of the windows of the rows from `low` on.
    """
    width = out.shape[2]
    shift, scale = shift_scale[0], shift_scale[1]
    box, line = np.empty((3, width), np.float32), np.zeros(width + 2 * reach, np.float32)
    for y in range(first, last):
        a, b = span_of(spans, z, y)
        if a == b:
            continue
        sum_window_row(ring_sums, y - low, a, b, line, reach, box)
        s_p, s_q, s_r, m_row, f_row, o_row = (box[0], box[1], box[2], warped[z, y], fixed[z, y], out[z, y])
        if weight.shape[0] > 0:
            w_row = weight[z, y]
            for x in range(a, b):
                slope = f_row[x] * s_p[x] - (m_row[x] - shift) * scale * s_q[x] - s_r[x]
                o_row[x] += factor * w_row[x] * slope
        else:
            for x in range(a, b):
                o_row[x] += factor * (f_row[x] * s_p[x] - (m_row[x] - shift) * scale * s_q[x] - s_r[x])


@njit(nogil=True, fastmath=True, error_model="numpy")
def _window_plane(
    sums, top, low, first, last, high, z, windows, weight, mask, spans, counts, floor, squared, reach, slot, ring_sums
):  # fmt: skip
    """Sum of the correlations of the windows of rows first..last - 1 of plane z.

    sums: along z, of the rows from `top` on.  The p, q, r of the windows of rows low..high - 1 go into the ring.
    """
    kinds, _, width = sums.shape
    mean, precision, (n_z, n_y, n_x) = windows[0], windows[1], counts
    box, line = np.empty((kinds, width), np.float32), np.zeros(width + 2 * reach, np.float32)
    outer, fresh = np.ones(width, np.float32), np.empty((3, width), np.float32)
    size, nothing = 2 * reach + 1, (np.uint64(0), np.uint64(0))
    total = 0.0
    for y in range(low, high):
        a, b = span_of(spans, z, y)
        if a < b:
            sum_window_row(sums, y - top, a, b, line, reach, box)
            if weight.shape[0] > 0 or mask.shape[0] > 0:
                window_weights(weight, mask, z, y, a, b, outer)
            if weight.shape[0] > 0:
                value = _weighted_row(box, a, b, floor, squared, outer, fresh)
            else:
                n = n_z[z] * n_y[y]
                value = _plain_row(box, mean[z, y], precision[z, y], n, n_x, floor, squared, outer, fresh)
            if first <= y < last:
                total += float(value)
        if ring_sums.shape[0] > 0:
            old = span_of(spans, z - size, y) if z >= size else nothing
            put_span(ring_sums, slot, fresh, y - low, old, (a, b))
    return total


@njit(nogil=True, fastmath=True, error_model="numpy")
def _correlate_block(
    first, last, warped, shift_scale, fixed, windows, weight, mask, spans, counts, reach, floor, squared, factor,
    gradient,
):  # fmt: skip
    """Sum of the correlations of the windows of rows first..last - 1, all planes, and the derivative there if wanted.

    A block of rows, so that the running sums of a plane stay in the processor's own cache.
    """
    depth, height, width = warped.shape
    wanted, size = gradient.shape[0] > 0, 2 * reach + 1
    low, high = (max(first - reach, 0), min(last + reach, height)) if wanted else (first, last)
    top, bottom = max(low - reach, 0), min(high + reach, height)
    sums = np.zeros((6 if weight.shape[0] > 0 else 3, bottom - top, width))
    ring = np.zeros((size if wanted else 1, 3, high - low, width), np.float32)
    ring_sums = np.zeros((3 if wanted else 0, high - low, width))
    blank, nothing = np.zeros((3, width), np.float32), (np.uint64(0), np.uint64(0))
    still = np.full(width, shift_scale[0], np.float32)
    total = 0.0
    for z in range(-reach, depth + reach if wanted else depth):
        if z < depth:
            enter = z + reach if z + reach < depth else -1
            leave = z - reach - 1 if z - reach - 1 >= 0 else -1
            _slide_planes(sums, top, warped, fixed, weight, spans, shift_scale, enter, leave, still, blank[0])
        if z < 0:
            continue
        slot = ring[z % len(ring)]
        if z < depth:
            total += _window_plane(
                sums, top, low, first, last, high, z, windows, weight, mask, spans, counts, floor, squared, reach, slot,
                ring_sums,
            )  # fmt: skip
        else:
            for y in range(low, high):
                old = span_of(spans, z - size, y) if z >= size else nothing
                put_span(ring_sums, slot, blank, y - low, old, nothing)
        p = z - reach
        if wanted and p >= 0:
            _gradient_plane(
                ring_sums, low, first, last, p, warped, fixed, weight, spans, shift_scale, factor, reach, gradient
            )
    return total


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _correlate(
    warped, shift_scale, fixed, windows, weight, mask, spans, counts, reach, floor, squared, bounds, factor, gradient
):
    totals = np.zeros(len(bounds) - 1)
    for t in prange(len(bounds) - 1):
        totals[t] = _correlate_block(
            bounds[t], bounds[t + 1], warped, shift_scale, fixed, windows, weight, mask, spans, counts, reach, floor,
            squared, factor, gradient,
        )  # fmt: skip
    return totals.sum()
