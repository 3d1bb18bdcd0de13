"""Self-similarity descriptors of a 3-D image, exp(-patch distance / mean), and the derivative of their difference.

The derivative by a patch distance is summed over the box as the distances were, then each channel hands
2 (I(p + a) - I(p + b)) times that sum to its two voxels.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from deformgan.kernels.box import (
    NONE,
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


def self_similarity(image: Float, pairs: NDArray[np.int64], radius: int, least: float) -> Float:
    """Descriptors of image (Z, Y, X) -> (K, Z, Y, X) in (0, 1], 1 for the most alike pair of each voxel.

    pairs: (K, 2, 3) offsets z, y, x of the two neighbours; beyond the border the border voxel repeats.  The distance of
    a pair is the mean squared difference over a patch of 2 radius + 1 voxels a side, less the least of the K; it is
    divided by the mean over the K, or by `least` if that is more.
    """
    out = np.empty((len(pairs), *image.shape), np.float32)
    bounds = slab_bounds(image.shape[0])
    counts = tuple(window_counts(2 * radius + 1, n) for n in image.shape)
    _describe(image, pairs, radius, np.float32(least), counts, bounds, out)
    return out


def self_similarity_difference(
    image: Float,
    fixed: Float,
    pairs: NDArray[np.int64],
    radius: int,
    least: float,
    *,
    mask: Float | None = None,
    weight: Float | None = None,
    times: float = 1.0,
) -> tuple[float, Float]:
    """Mean squared difference of the image's descriptors and fixed (K, Z, Y, X), and `times` its derivative (Z, Y, X).

    mask, weight: weights of each voxel in the mean, multiplied; all else as in self_similarity.
    """
    w, outer = NONE if weight is None else weight, NONE if mask is None else mask
    gradient, bounds = np.zeros_like(image), slab_bounds(image.shape[0])
    share = total_weight(image.shape, w, outer, bounds) * len(pairs)
    if share <= 0:
        return 0.0, gradient
    counts = tuple(window_counts(2 * radius + 1, n) for n in image.shape)
    factor, bound = np.float32(times / share), np.float32(least)
    return _differ(image, fixed, pairs, radius, bound, counts, w, outer, factor, bounds, gradient) / share, gradient


@njit(nogil=True, fastmath=True, error_model="numpy")
def _add_squares(total, image, a, b, z, y, sign):
    """Add sign * (I(p + a) - I(p + b))^2 of row y of plane z to total (X,); the border voxel repeats."""
    depth, height, width = image.shape
    first = image[min(max(z + a[0], 0), depth - 1), min(max(y + a[1], 0), height - 1)]
    second = image[min(max(z + b[0], 0), depth - 1), min(max(y + b[1], 0), height - 1)]
    low = min(max(-a[2], -b[2], 0), width)
    high = max(min(width - a[2], width - b[2], width), low)
    for edge in range(2):
        for x in range(0 if edge == 0 else high, low if edge == 0 else width):
            d = first[min(max(x + a[2], 0), width - 1)] - second[min(max(x + b[2], 0), width - 1)]
            total[x] += sign * (d * d)
    if high > low:
        one, other, inner = first[low + a[2] :], second[low + b[2] :], total[low:]
        for x in range(high - low):
            d = one[x] - other[x]
            inner[x] += sign * (d * d)


@njit(nogil=True, fastmath=True, error_model="numpy")
def _describe_row(distances, least, share, lowest, precision, out):
    """Descriptors (K, X) of a row from its sums of squares, which become distances less the least of the K.

    share (X,): 1 / voxels of each patch.  lowest, precision (X,) receive the least sum and 1 / the mean, or -1 / least
    where that is the bound: the sign tells whether the mean has a part in the derivative.
    """
    kinds, width = distances.shape
    one, small, zero = np.float32(1), np.float32(1 / 64), np.float32(0)
    for x in range(width):
        lowest[x] = distances[0, x]
        precision[x] = 0
    for k in range(1, kinds):
        row = distances[k]
        for x in range(width):
            lowest[x] = min(lowest[x], row[x])
    for k in range(kinds):
        row = distances[k]
        for x in range(width):
            d = row[x] - lowest[x]
            row[x] = max(d, zero) * share[x]
            precision[x] += row[x]
    for x in range(width):
        mean = precision[x] / np.float32(kinds)
        precision[x] = one / mean if mean > least else -one / least
    for k in range(kinds):
        row, to = distances[k], out[k]
        for x in range(width):
            # exp(-t) = (exp(-t / 64))^64 by five terms: exact to 4e-6, and made of vector operations.
            t = -small * min(row[x] * abs(precision[x]), np.float32(20))
            e = one + t * (one + t * (np.float32(1 / 2) + t * (np.float32(1 / 6) + t * np.float32(1 / 24))))
            e *= e
            e *= e
            e *= e
            e *= e
            e *= e
            to[x] = e * e


@njit(nogil=True, fastmath=True, error_model="numpy")
def _slope_row(distances, described, fixed, share, precision, outer, times, slopes):
    """Sum of outer * (described - fixed)^2 over (K, X); times its derivative by the sums of squares -> slopes."""
    kinds, width = distances.shape
    total, zero, two = np.float32(0), np.float32(0), np.float32(2)
    for x in range(width):
        back, whole, lowest, at = zero, zero, distances[0, x], 0
        for k in range(kinds):
            gap, v = described[k, x] - fixed[k, x], abs(precision[x])
            total += outer[x] * gap * gap
            s = -two * times * outer[x] * gap * described[k, x] * v
            slopes[k, x] = s
            back += s * distances[k, x]
            if distances[k, x] < lowest:
                lowest, at = distances[k, x], k
        if precision[x] > 0:
            back *= precision[x] / np.float32(kinds)
        else:
            back = zero
        for k in range(kinds):
            slopes[k, x] = (slopes[k, x] - back) * share[x]
            whole += slopes[k, x]
        slopes[at, x] -= whole
    return total


@njit(nogil=True, fastmath=True, error_model="numpy")
def _slide(sums, image, pairs, enter, leave):
    """Let the squares of plane `enter` into the sums along z (K, Y, X), those of `leave` out; -1 for none."""
    for k in range(sums.shape[0]):
        for y in range(sums.shape[1]):
            if enter >= 0:
                _add_squares(sums[k, y], image, pairs[k, 0], pairs[k, 1], enter, y, 1.0)
            if leave >= 0:
                _add_squares(sums[k, y], image, pairs[k, 0], pairs[k, 1], leave, y, -1.0)


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _describe(image, pairs, radius, least, counts, bounds, out):
    kinds, (depth, height, width), (n_z, n_y, n_x) = len(pairs), image.shape, counts
    for t in prange(len(bounds) - 1):
        first, last = bounds[t], bounds[t + 1]
        start = max(first - radius, 0)
        sums, rows = np.zeros((kinds, height, width)), np.empty((kinds, width))
        box, line = np.empty((kinds, width), np.float32), np.zeros(width + 2 * radius, np.float32)
        share, lowest, precision = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
        for z in range(start - radius, last):
            leave = z - radius - 1
            _slide(sums, image, pairs, z + radius if z + radius < depth else -1, leave if leave >= start else -1)
            if z < first:
                continue
            rows[:] = 0
            for y in range(-radius, height):
                slide_rows(sums, rows, y, radius)
                if y >= 0:
                    sum_along_row(rows, line, radius, box)
                    for x in range(width):
                        share[x] = np.float32(1) / (n_z[z] * n_y[y] * n_x[x])
                    _describe_row(box, least, share, lowest, precision, out[:, z, y])


@njit(nogil=True, fastmath=True, error_model="numpy")
def _hand_out(slopes, image, a, b, z, y, front, out):
    """Add the derivative of slopes (X,) . (I(p + a) - I(p + b))^2 in row y of plane z to out (planes from `front`)."""
    depth, height, width = image.shape
    z_a, y_a = min(max(z + a[0], 0), depth - 1), min(max(y + a[1], 0), height - 1)
    z_b, y_b = min(max(z + b[0], 0), depth - 1), min(max(y + b[1], 0), height - 1)
    first, second, to_first, to_second = image[z_a, y_a], image[z_b, y_b], out[z_a - front, y_a], out[z_b - front, y_b]
    for x in range(width):
        x_a, x_b = min(max(x + a[2], 0), width - 1), min(max(x + b[2], 0), width - 1)
        d = np.float32(2) * slopes[x] * (first[x_a] - second[x_b])
        to_first[x_a] += d
        to_second[x_b] -= d


@njit(nogil=True, fastmath=True, error_model="numpy")
def _differ_slab(first, last, image, fixed, pairs, radius, least, counts, weight, mask, factor, front, out):
    """Sum of the squared differences in planes first..last - 1; what their patches hand to the voxels -> out."""
    kinds, (depth, height, width), (n_z, n_y, n_x) = len(pairs), image.shape, counts
    low, high = max(first - radius, 0), min(last + radius, depth)
    start, size = max(low - radius, 0), 2 * radius + 1
    sums, rows = np.zeros((kinds, height, width)), np.empty((kinds, width))
    box, line = np.empty((kinds, width), np.float32), np.zeros(width + 2 * radius, np.float32)
    share, lowest, precision = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    described, fresh = np.empty((kinds, width), np.float32), np.empty((kinds, width), np.float32)
    outer, blank = np.empty(width, np.float32), np.zeros((kinds, width), np.float32)
    ring, ring_sums = np.zeros((size, kinds, height, width), np.float32), np.zeros((kinds, height, width))
    total = 0.0
    for z in range(start - radius, last + radius):
        leave = z - radius - 1
        if z < high:
            _slide(sums, image, pairs, z + radius if z + radius < depth else -1, leave if leave >= start else -1)
        if z < low:
            continue
        rows[:] = 0
        for y in range(-radius, height if z < high else -radius):
            slide_rows(sums, rows, y, radius)
            if y < 0:
                continue
            sum_along_row(rows, line, radius, box)
            for x in range(width):
                share[x] = np.float32(1) / (n_z[z] * n_y[y] * n_x[x])
            window_weights(weight, mask, z, y, np.uint64(0), np.uint64(width), outer)
            _describe_row(box, least, share, lowest, precision, described)
            value = _slope_row(box, described, fixed[:, z, y], share, precision, outer, factor, fresh)
            total += value if first <= z < last else 0.0
            put_row(ring_sums, ring[z % size], fresh, y)
        if z >= high:
            put_blank(ring_sums, ring[z % size], blank)
        rows[:] = 0
        for y in range(-radius, height if first <= z - radius < last else -radius):
            slide_rows(ring_sums, rows, y, radius)
            if y >= 0:
                sum_along_row(rows, line, radius, box)
                for k in range(kinds):
                    _hand_out(box[k], image, pairs[k, 0], pairs[k, 1], z - radius, y, front, out)
    return total


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _differ(image, fixed, pairs, radius, least, counts, weight, mask, factor, bounds, gradient):
    depth, height, width = image.shape
    slabs, reach = len(bounds) - 1, 0
    for k in range(len(pairs)):
        reach = max(reach, abs(pairs[k, 0, 0]), abs(pairs[k, 1, 0]))
    deepest = 0
    for t in range(slabs):
        deepest = max(deepest, bounds[t + 1] - bounds[t])
    totals = np.zeros(slabs)
    # Patches of one slab reach voxels of the next, so each slab has its own planes, added in order at the end.
    parts = np.zeros((slabs, deepest + 2 * reach, height, width), np.float32)
    for t in prange(slabs):
        totals[t] = _differ_slab(
            bounds[t], bounds[t + 1], image, fixed, pairs, radius, least, counts, weight, mask, factor,
            bounds[t] - reach, parts[t],
        )  # fmt: skip
    for z in prange(depth):
        for t in range(slabs):
            if bounds[t] - reach <= z < bounds[t + 1] + reach:
                part = parts[t, z - bounds[t] + reach]
                for y in range(height):
                    for x in range(width):
                        gradient[z, y, x] += part[y, x]
    return totals.sum()
