"""Joint histogram of two images, the one in whole bins, the other spread by a cubic B-spline, and its derivative.

A voxel of the second image lies at u = 1 + (value - low) * rate in bins, clamped to 1..bins - 2, and adds to the four
bins around it.  Slabs of voxels have their own histograms, so the result is the same for any number of threads.  It
computes in float32 or float64, as `warped` is.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from deformgan.kernels.box import NONE
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
    _spread(bins_of_fixed, warped, *rows, real(low), real(rate), table.astype(warped.dtype), _TASKS, out)
    return out


def _rows(warped: Float, weight: Float | None, spans: Spans | None) -> tuple[Float, Spans, NDArray[np.int64]]:
    order = dealt(warped.shape[0] * warped.shape[1], _TASKS, _RUN)
    return NONE if weight is None else weight, whole(warped.shape) if spans is None else spans, order


@njit(inline="always", fastmath=True, error_model="numpy")
def _place(value, low, rate, bins):
    """First of the four bins, and how far the voxel is beyond the second of them, 0..1."""
    u = np.float32(1) + min(max((value - low) * rate, np.float32(0)), np.float32(bins - 3))
    first = min(np.int32(u), np.int32(bins - 3))
    return np.uint32(first - 1), u - np.float32(first)


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _count(bins_of_fixed, warped, weight, spans, order, low, rate, bins, tasks):
    height, size = warped.shape[1], len(order)
    tables = np.zeros((tasks, bins * bins))
    for t in prange(tasks):
        # Two tables in turn: neighbours often share a bin, and a sum must not wait for the one before it.
        pair = np.zeros((2, bins * bins))
        for n in order[t * size // tasks : (t + 1) * size // tasks]:
            z, y = n // height, n % height
            begin, end = span_of(spans, z, y)
            for x in range(begin, end):
                table = pair[x % np.uint64(2)]
                first, s = _place(warped[z, y, x], low, rate, bins)
                at = np.uint32(bins_of_fixed[z, y, x]) * np.uint32(bins) + first
                share = warped.dtype.type(1 / 6)
                if weight.shape[0] > 0:
                    share *= weight[z, y, x]
                r, ss = np.float32(1) - s, s * s
                w0, w3 = r * r * r, ss * s
                w1 = np.float32(3) * w3 - np.float32(6) * ss + np.float32(4)
                table[at] += share * w0
                table[at + np.uint32(1)] += share * w1
                table[at + np.uint32(2)] += share * (np.float32(6) - w0 - w1 - w3)
                table[at + np.uint32(3)] += share * w3
        tables[t] = pair[0] + pair[1]
    return tables.sum(axis=0).reshape(bins, bins)


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _spread(bins_of_fixed, warped, weight, spans, order, low, rate, table, tasks, out):
    height, size, bins, flat = warped.shape[1], len(order), table.shape[1], table.ravel()
    half = np.float32(0.5) * rate
    three, two, one = np.float32(3), np.float32(2), np.float32(1)
    margin = np.float32(1e-3)  # so that rounding does not take the extremes for values beyond the range
    for t in prange(tasks):
        for n in order[t * size // tasks : (t + 1) * size // tasks]:
            z, y = n // height, n % height
            begin, end = span_of(spans, z, y)
            for x in range(begin, end):
                first, s = _place(warped[z, y, x], low, rate, bins)
                at = np.uint32(bins_of_fixed[z, y, x]) * np.uint32(bins) + first
                r = one - s
                d0, d3 = -r * r, s * s
                d1 = three * d3 - (two + two) * s
                d2 = -d0 - d1 - d3
                slope = d0 * flat[at] + d1 * flat[at + np.uint32(1)]
                slope += d2 * flat[at + np.uint32(2)] + d3 * flat[at + np.uint32(3)]
                u = (warped[z, y, x] - low) * rate
                inside = (u >= -margin) & (u <= np.float32(bins - 3) + margin)
                share = half * slope if inside else np.float32(0)
                if weight.shape[0] > 0:
                    share *= weight[z, y, x]
                out[z, y, x] += share
