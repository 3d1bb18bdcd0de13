"""Sums over a box of size^d voxels, truncated at the image border: running sums in z and y, a direct sum in x.

The running sums are float64, so nothing is left behind when a bright voxel leaves the window; the slabs along z that
share the work depend on the shape alone, so the result is the same for any number of threads.  Where only a span of
each row counts, rows are summed directly in y too, which is quicker for windows of up to about nine voxels.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Float = NDArray[np.float32]

NONE = np.zeros((0, 0, 0), np.float32)  # stands for an array that is not given, so a kernel has one signature

_SLAB = 40  # planes of one task: fewer share the work better, more repeat less of it at the seams


def slab_bounds(depth: int) -> NDArray[np.int64]:
    """First plane of each task, and `depth` at the end; an even number of tasks unless there are fewer planes."""
    slabs = min(depth, 2 * -(-depth // (2 * _SLAB)))
    return np.arange(slabs + 1) * depth // slabs


def window_counts(size: int, length: int) -> Float:
    """Voxels of a window of `size` (odd) that lie inside an axis of `length` voxels, per voxel."""
    at, reach = np.arange(length), size // 2
    return (np.minimum(at + reach, length - 1) - np.maximum(at - reach, 0) + 1).astype(np.float32)


def box_sum(stack: Float, size: int) -> Float:
    """Sum of stack (C, Z, Y, X) over the size^3 window (odd) around each voxel, as far as it lies inside -> new."""
    out = np.empty_like(stack)
    _box_sum(stack, size // 2, slab_bounds(stack.shape[1]), out)
    return out


@njit(nogil=True, fastmath=True, error_model="numpy")
def slide_rows(planes, rows, y, reach):
    """Move running sums rows (K, X) of planes (K, Y, X) to row y; zeros before y = -reach, they hold from y = 0."""
    height, width = planes.shape[1:]
    enter, leave = y + reach, y - reach - 1
    for k in range(planes.shape[0]):
        row = rows[k]
        if enter < height and leave >= 0:
            new, old = planes[k, enter], planes[k, leave]
            for x in range(width):
                row[x] += new[x] - old[x]
        elif enter < height:
            new = planes[k, enter]
            for x in range(width):
                row[x] += new[x]
        elif leave >= 0:
            old = planes[k, leave]
            for x in range(width):
                row[x] -= old[x]


@njit(nogil=True, fastmath=True, error_model="numpy")
def sum_along_row(rows, line, reach, out):
    """out (K, X) = sums of rows (K, X) over 2 * reach + 1 voxels; `line` (X + 2 reach,) has zeros at both ends."""
    width = rows.shape[1]
    here = line[reach:]
    for k in range(rows.shape[0]):
        row, total = rows[k], out[k]
        for x in range(width):
            here[x] = row[x]
        for x in range(width):
            total[x] = here[x]
        for step in range(1, reach + 1):
            left, right = line[reach - step :], line[reach + step :]
            for x in range(width):
                total[x] += left[x] + right[x]


@njit(nogil=True, fastmath=True, error_model="numpy")
def put_row(ring_sums, slot, fresh, y):
    """Row y of the plane in `slot` (K, Y, X) of a ring gives way to fresh (K, X); ring_sums = sum over the ring."""
    for k in range(fresh.shape[0]):
        total, old, new = ring_sums[k, y], slot[k, y], fresh[k]
        for x in range(fresh.shape[1]):
            total[x] += new[x] - old[x]
            old[x] = new[x]


@njit(nogil=True, fastmath=True, error_model="numpy")
def put_blank(ring_sums, slot, blank):
    """The plane in `slot` gives way to nothing; blank (K, X) zeros."""
    for y in range(slot.shape[1]):
        put_row(ring_sums, slot, blank, y)


@njit(nogil=True, fastmath=True, error_model="numpy")
def sum_window_row(planes, y, first, last, line, reach, out):
    """Voxels first..last - 1 of out (K, X) = sums of planes (K, Y, X) over the window of reach rows and voxels.

    `line` (X + 2 reach,) has zeros at both ends.
    """
    height, width, one = planes.shape[1], np.uint64(planes.shape[2]), np.uint64(1)
    begin, end = first - min(first, np.uint64(reach)), min(last + np.uint64(reach), width)
    low, high = np.uint64(max(y - reach, 0)), np.uint64(min(y + reach, height - 1))
    here = line[reach:]
    for k in range(planes.shape[0]):
        for x in range(begin, end):
            here[x] = planes[k, low, x]
        for n in range(low + one, high, np.uint64(2)):  # two rows at a time
            for x in range(begin, end):
                here[x] += planes[k, n, x] + planes[k, n + one, x]
        if (high - low) % np.uint64(2) == one:
            for x in range(begin, end):
                here[x] += planes[k, high, x]
        for x in range(first, last):
            out[k, x] = here[x]
        for step in range(1, reach + 1):
            left, right = line[reach - step :], line[reach + step :]
            for x in range(first, last):
                out[k, x] += left[x] + right[x]


@njit(nogil=True, fastmath=True, error_model="numpy")
def put_span(ring_sums, slot, fresh, y, old, new):
    """Row y of the plane in `slot` (K, Y, X), on its span `old`, gives way to fresh (K, X) on the span `new`.

    ring_sums = sum over the ring; what a slot holds outside of its span is not read.
    """
    for k in range(fresh.shape[0]):
        for x in range(old[0], old[1]):
            ring_sums[k, y, x] -= slot[k, y, x]
        for x in range(new[0], new[1]):
            ring_sums[k, y, x] += fresh[k, x]
            slot[k, y, x] = fresh[k, x]


@njit(nogil=True, fastmath=True, error_model="numpy")
def window_weights(weight, mask, z, y, first, last, out):
    """Weight in the mean of windows first..last - 1 of a row -> out (X,): the product of weight and mask, if given."""
    for x in range(first, last):
        out[x] = np.float32(1)
    if weight.shape[0] > 0:
        for x in range(first, last):
            out[x] *= weight[z, y, x]
    if mask.shape[0] > 0:
        for x in range(first, last):
            out[x] *= mask[z, y, x]


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def total_weight(shape, weight, mask, bounds):
    """Sum of window_weights over an image of `shape`."""
    if weight.shape[0] == 0 and mask.shape[0] == 0:
        return float(shape[0] * shape[1] * shape[2])
    totals = np.zeros(len(bounds) - 1)
    for t in prange(len(bounds) - 1):
        out = np.empty(shape[2], np.float32)
        for z in range(bounds[t], bounds[t + 1]):
            for y in range(shape[1]):
                window_weights(weight, mask, z, y, np.uint64(0), np.uint64(shape[2]), out)
                totals[t] += out.sum()
    return totals.sum()


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _box_sum(stack, reach, bounds, out):
    channels, depth, height, width = stack.shape
    slabs = len(bounds) - 1
    for n in prange(channels * slabs):
        c, first, last = n // slabs, bounds[n % slabs], bounds[n % slabs + 1]
        planes, rows, box = (np.zeros((1, height, width)), np.empty((1, width)), np.empty((1, width), np.float32))
        line = np.zeros(width + 2 * reach, np.float32)
        start = max(first - reach, 0)
        for z in range(start - reach, last):
            enter, leave = z + reach, z - reach - 1
            if enter < depth:
                for y in range(height):
                    for x in range(width):
                        planes[0, y, x] += stack[c, enter, y, x]
            if leave >= start:
                for y in range(height):
                    for x in range(width):
                        planes[0, y, x] -= stack[c, leave, y, x]
            if z >= first:
                rows[:] = 0
                for y in range(-reach, height):
                    slide_rows(planes, rows, y, reach)
                    if y >= 0:
                        sum_along_row(rows, line, reach, box)
                        out[c, z, y] = box[0]
