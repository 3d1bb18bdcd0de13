"""Joint histogram of two images, the one in whole bins, the other spread by a cubic B-spline, and its derivative.

A voxel of the second image lies at u = 1 + (value - low) * rate in bins, clamped to 1..bins - 2, and adds to the four
bins around it.  Slabs of voxels have their own histograms, so the result is the same for any number of threads.  It
computes in float32 or float64, as `warped` is.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import DTypeLike, NDArray

from deformgan.kernels.spans import Spans, dealt, span_of, whole

Float = NDArray[np.float32]
Bins = NDArray[np.uint8]

_TASKS = 16
_RUN = 32  # rows that a task takes one after another


def joint_histogram(
    bins_of_fixed: Bins,
    warped: Float,
    low: float,
    rate: float,
    bins: int,
    weight: Float | None = None,
    spans: Spans | None = None,
) -> NDArray[np.float64]:
    """Histogram (bins, bins), fixed x warped, not normalised, of volumes (Z, Y, X).

    weight: (Z, Y, X), of each voxel; spans: beyond these it is zero.
    """
    real = warped.dtype.type
    return _count(bins_of_fixed, warped, *_rows(warped, weight, spans), real(low), real(rate), bins, _TASKS)


def histogram_derivative(
    bins_of_fixed: Bins,
    warped: Float,
    low: float,
    rate: float,
    table: NDArray[np.float64],
    weight: Float | None = None,
    spans: Spans | None = None,
    onto: Float | None = None,
) -> Float:
    """Derivative (Z, Y, X) by warped of a quantity whose derivative by the histogram's entries is table (bins, bins).

    It is added `onto` an array where one is given; beyond the spans it is zero, or left as it is.
    """
    out = np.zeros_like(warped) if onto is None else onto
    real = warped.dtype.type
    rows = _rows(warped, weight, spans)
    slopes = _slopes_of(table, warped.dtype)
    _spread(bins_of_fixed, warped, *rows, real(low), real(rate), len(table), slopes, _TASKS, out)
    return out


def _rows(warped: Float, weight: Float | None, spans: Spans | None) -> tuple[Float, Spans, NDArray[np.int64]]:
    order = dealt(warped.shape[0] * warped.shape[1], _TASKS, _RUN)
    share = np.empty((0, 0, 0), warped.dtype) if weight is None else weight.astype(warped.dtype, copy=False)
    return share, whole(warped.shape) if spans is None else spans, order


@njit(inline="always", fastmath=True, error_model="numpy")
def _place_row(fixed, value, low, rate, bins, at, s):
    """Of each voxel of a row, the first of its four entries in the flat table, and its way from the second to the next.

    The three functions on rows have loops without branches or sums that wait for each other, which run several voxels
    at once; only adding to the table, and reading it, goes voxel by voxel.
    """
    for x in range(len(value)):
        u = np.float32(1) + min(max((value[x] - low) * rate, np.float32(0)), np.float32(bins - 3))
        first = min(max(np.int32(u), np.int32(1)), np.int32(bins - 3))  # whatever a NaN becomes
        s[x] = u - np.float32(first)
        at[x] = np.uint32(fixed[x]) * np.uint32(bins) + np.uint32(first - 1)


@njit(inline="always", fastmath=True, error_model="numpy")
def _count_row(at, s, weight, parts, pair):
    """Add a row to two tables in turn: neighbours often share a bin, and a sum must not wait for the one before it.

    weight: of each voxel, or empty for 1.  parts: room for (4, at least as many as the row) numbers.
    """
    one, six = np.float32(1), np.float32(6)
    for x in range(len(s)):
        r, ss = one - s[x], s[x] * s[x]
        w0, w3 = r * r * r / six, ss * s[x] / six
        w1 = np.float32(3) * w3 - ss + np.float32(4) / six
        parts[0, x], parts[1, x], parts[2, x], parts[3, x] = w0, w1, one - w0 - w1 - w3, w3
    if len(weight) > 0:
        for j in range(4):
            for x in range(len(s)):
                parts[j, x] *= weight[x]
    for x in range(len(s)):
        table, k = pair[x % 2], at[x]
        table[k] += parts[0, x]
        table[k + np.uint32(1)] += parts[1, x]
        table[k + np.uint32(2)] += parts[2, x]
        table[k + np.uint32(3)] += parts[3, x]


@njit(inline="always", fastmath=True, error_model="numpy")
def _slope_row(at, s, slopes, parts, out):
    """Derivative by u of what `_count_row` adds, times the table that `slopes` (see `_slopes_of`) are of.

    parts: room for (3, at least as many as the row) numbers.
    """
    for x in range(len(s)):
        k = at[x]
        parts[0, x], parts[1, x], parts[2, x] = slopes[k, 0], slopes[k, 1], slopes[k, 2]
    for x in range(len(s)):
        out[x] = parts[0, x] + s[x] * (parts[1, x] + s[x] * parts[2, x])


def _slopes_of(table: NDArray[np.float64], dtype: DTypeLike) -> Float:
    """(entries, 3): of a voxel between four entries from one on, the table's slope by u is c0 + c1 s + c2 s^2."""
    a, b, c, d = (np.append(table.ravel()[k:], np.zeros(k)) for k in range(4))
    return np.stack([(c - a) / 2, a - 2 * b + c, (3 * b - a - 3 * c + d) / 2], axis=1).astype(dtype)


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _count(bins_of_fixed, warped, weight, spans, order, low, rate, bins, tasks):
    height, width, size = warped.shape[1], warped.shape[2], len(order)
    tables = np.zeros((tasks, bins * bins))
    for t in prange(tasks):
        pair = np.zeros((2, bins * bins))
        at, s, parts = np.empty(width, np.uint32), np.empty(width, warped.dtype), np.empty((4, width), warped.dtype)
        for n in order[t * size // tasks : (t + 1) * size // tasks]:
            z, y = n // height, n % height
            begin, end = span_of(spans, z, y)
            count = end - begin
            _place_row(bins_of_fixed[z, y, begin:end], warped[z, y, begin:end], low, rate, bins, at[:count], s[:count])
            share = weight[z, y, begin:end] if weight.shape[0] > 0 else s[:0]
            _count_row(at[:count], s[:count], share, parts, pair)
        tables[t] = pair[0] + pair[1]
    return tables.sum(axis=0).reshape(bins, bins)


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _spread(bins_of_fixed, warped, weight, spans, order, low, rate, bins, slopes, tasks, out):
    height, width, size = warped.shape[1], warped.shape[2], len(order)
    margin = np.float32(1e-3)  # so that rounding does not take the extremes for values beyond the range
    for t in prange(tasks):
        at, s, parts = np.empty(width, np.uint32), np.empty(width, warped.dtype), np.empty((3, width), warped.dtype)
        found = np.empty(width, warped.dtype)
        for n in order[t * size // tasks : (t + 1) * size // tasks]:
            z, y = n // height, n % height
            begin, end = span_of(spans, z, y)
            count, value, add = end - begin, warped[z, y, begin:end], out[z, y, begin:end]
            _place_row(bins_of_fixed[z, y, begin:end], value, low, rate, bins, at[:count], s[:count])
            _slope_row(at[:count], s[:count], slopes, parts, found[:count])
            for x in range(count):
                u = (value[x] - low) * rate
                inside = (u >= -margin) & (u <= np.float32(bins - 3) + margin)
                found[x] = rate * found[x] if inside else np.float32(0)
            if weight.shape[0] > 0:
                for x in range(count):
                    found[x] *= weight[z, y, begin + x]
            for x in range(count):
                add[x] += found[x]
