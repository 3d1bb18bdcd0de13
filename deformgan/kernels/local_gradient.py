"""Agreement |n_f . n_m| of two 3-D images' local gradients, and its derivative by the moving one, in one pass.

g = sum over the box of (dI/dz, dI/dy, dI/dx), central differences with the border voxel repeated, and n = g / (|g| +
floor).  The derivative by g, c = sign(n_f . g) (n_f - (n_f . n_m) g / |g|) / (|g| + floor), goes back through the same
box sums and the transposed differences.  A flat window has g = 0, n = 0 and c = 0.
"""

from __future__ import annotations

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
    window_weights,
)

Float = NDArray[np.float32]


def differences(image: Float) -> Float:
    """Central differences of image (Z, Y, X) along z, y, x, the border voxel repeated -> (3, Z, Y, X)."""
    out = np.empty((3, *image.shape), np.float32)
    for axis in range(3):
        lines, slopes = np.moveaxis(image, axis, 0), np.moveaxis(out[axis], axis, 0)
        after, before = (np.concatenate([lines[1:], lines[-1:]]), np.concatenate([lines[:1], lines[:-1]]))
        np.multiply(after - before, np.float32(0.5), out=slopes)
    return out


def local_directions(image: Float, size: int, floor: float) -> Float:
    """n of every window of size^3 (odd) of image (Z, Y, X) -> (3, Z, Y, X), z y x, length 0..1."""
    sums = box_sum(differences(image), size)
    length = np.sqrt((sums * sums).sum(0))
    sums /= length + np.float32(max(floor, 1e-30))
    return sums


def local_agreement(
    warped: Float,
    directions: Float,
    size: int,
    *,
    floor: float,
    mask: Float | None = None,
    weight: Float | None = None,
    derivative: bool = True,
    times: float = 1.0,
) -> tuple[float, Float]:
    """Mean of |n_f . n_m| over the windows, n_f = directions (3, Z, Y, X), and `times` its derivative by warped.

    floor: |g| of warped (Z, Y, X) that makes |n| a half.  mask, weight: weights of each window in the mean, multiplied.
    The derivative is (Z, Y, X), or empty if not wanted.
    """
    w, outer = NONE if weight is None else weight, NONE if mask is None else mask
    gradient = np.zeros(warped.shape if derivative else (0, 0, 0), np.float32)
    bounds = slab_bounds(warped.shape[0])
    share = total_weight(warped.shape, w, outer, bounds)
    if share <= 0:
        return 0.0, gradient
    least, factor = np.float32(max(floor, 1e-30)), np.float32(times / share)
    total = _agree(warped, directions, w, outer, size // 2, least, bounds, factor, gradient)
    return total / share, gradient


@njit(nogil=True, fastmath=True, error_model="numpy")
def _add_differences(sums, image, z, y, sign):
    """Add the differences of row y of plane z, times sign, to the sums along z (3, Y, X)."""
    depth, height, width = image.shape
    s_z, s_y, s_x = sums[0, y], sums[1, y], sums[2, y]
    front, back = image[max(z - 1, 0), y], image[min(z + 1, depth - 1), y]
    north, south = image[z, max(y - 1, 0)], image[z, min(y + 1, height - 1)]
    here, right = image[z, y], image[z, y, 1:]
    for x in range(width):
        s_z[x] += sign * (back[x] - front[x])
    for x in range(width):
        s_y[x] += sign * (south[x] - north[x])
    for x in range(width - 1):
        s_x[x] += sign * (right[x] - here[x])
    s_x = s_x[1:]
    for x in range(width - 1):
        s_x[x] += sign * (right[x] - here[x])


@njit(nogil=True, fastmath=True, error_model="numpy")
def _agree_row(box, n_z, n_y, n_x, floor, outer, fresh):
    """Sum of the agreements of a row of windows, box = 2 g (3, X); their derivative by g goes into fresh (3, X)."""
    total, one, tiny = np.float32(0), np.float32(1), np.float32(1e-30)
    g_z, g_y, g_x, c_z, c_y, c_x = box[0], box[1], box[2], fresh[0], fresh[1], fresh[2]
    for x in range(box.shape[1]):
        z, y, w = g_z[x], g_y[x], g_x[x]
        length = np.sqrt(z * z + y * y + w * w)
        part = one / (length + floor)
        dot = n_z[x] * z + n_y[x] * y + n_x[x] * w
        signed = outer[x] * part if dot > 0 else (-outer[x] * part if dot < 0 else np.float32(0))
        total += signed * dot
        back = dot * part / max(length, tiny)
        c_z[x], c_y[x], c_x[x] = (
            signed * (n_z[x] - back * z),
            signed * (n_y[x] - back * y),
            signed * (n_x[x] - back * w),
        )
    return total


@njit(nogil=True, fastmath=True, error_model="numpy")
def _box_plane(ring_sums, reach, out):
    """Sums over rows and columns of the sums along z (3, Y, X) -> out, same shape, float32."""
    width = out.shape[2]
    rows, box = np.zeros((3, width)), np.empty((3, width), np.float32)
    line = np.zeros(width + 2 * reach, np.float32)
    for y in range(-reach, out.shape[1]):
        slide_rows(ring_sums, rows, y, reach)
        if y >= 0:
            sum_along_row(rows, line, reach, box)
            for k in range(3):
                out[k, y] = box[k]


@njit(nogil=True, fastmath=True, error_model="numpy")
def _transposed_differences(before, here, after, edges, factor, out):
    """Derivative of a plane (Y, X) from the box sums of c (3, Y, X) in it and its neighbours; edges: first, last?"""
    height, width = out.shape
    sign_z, sign_w = (np.float32(-1 if edges[0] else 1), np.float32(-1 if edges[1] else 1))
    for y in range(height):
        row, e_x = out[y], here[2, y]
        z_low, z_high = before[0, y], after[0, y]
        y_low, y_high = here[1, max(y - 1, 0)], here[1, min(y + 1, height - 1)]
        sign_y, sign_v = (np.float32(-1 if y == 0 else 1), np.float32(-1 if y == height - 1 else 1))
        for x in range(width):
            along_z = sign_z * z_low[x] - sign_w * z_high[x]
            row[x] = along_z + sign_y * y_low[x] - sign_v * y_high[x]
        row[0] -= e_x[0]
        row[width - 1] += e_x[width - 1]
        right, e_right = row[1:], e_x[1:]
        for x in range(width - 1):
            right[x] += e_x[x]
        for x in range(width - 1):
            row[x] -= e_right[x]
        for x in range(width):
            row[x] *= factor


@njit(nogil=True, fastmath=True, error_model="numpy")
def _agreement_plane(sums, z, directions, weight, mask, reach, floor, slot, ring_sums):
    """Sum of the agreements of the windows of plane z; their derivatives by g go into the ring."""
    height, width = sums.shape[1:]
    rows, box = np.zeros((3, width)), np.empty((3, width), np.float32)
    line = np.zeros(width + 2 * reach, np.float32)
    outer, fresh = np.ones(width, np.float32), np.empty((3, width), np.float32)
    total = 0.0
    for y in range(-reach, height):
        slide_rows(sums, rows, y, reach)
        if y < 0:
            continue
        sum_along_row(rows, line, reach, box)
        window_weights(weight, mask, z, y, np.uint64(0), np.uint64(width), outer)
        n_z, n_y, n_x = directions[0, z, y], directions[1, z, y], directions[2, z, y]
        total += _agree_row(box, n_z, n_y, n_x, floor, outer, fresh)
        if ring_sums.shape[0] > 0:
            put_row(ring_sums, slot, fresh, y)
    return total


@njit(nogil=True, fastmath=True, error_model="numpy")
def _agree_slab(first, last, warped, directions, weight, mask, reach, floor, factor, gradient):
    """Sum of the agreements of the windows of planes first..last - 1, and the derivative there unless empty."""
    depth, height, width = warped.shape
    wanted, beyond = gradient.shape[0] > 0, reach + 1
    low, high = (max(first - beyond, 0), min(last + beyond, depth)) if wanted else (first, last)
    start = max(low - reach, 0)
    sums, sheets = (np.zeros((3, height, width)), np.zeros((3, 3, height, width), np.float32))
    ring = np.zeros((2 * reach + 1 if wanted else 1, 3, height, width), np.float32)
    ring_sums, blank = (np.zeros((3 if wanted else 0, height, width)), np.zeros((3, width), np.float32))
    total = 0.0
    for z in range(start - reach, last + beyond if wanted else last):
        if z < high:
            for y in range(height):
                if z + reach < depth:
                    _add_differences(sums, warped, z + reach, y, np.float32(1))
                if z - beyond >= start:
                    _add_differences(sums, warped, z - beyond, y, np.float32(-1))
        if z < low:
            continue
        slot = ring[z % len(ring)]
        if z < high:
            value = _agreement_plane(sums, z, directions, weight, mask, reach, np.float32(2) * floor, slot, ring_sums)
            total += value if first <= z < last else 0.0
        elif wanted:
            put_blank(ring_sums, slot, blank)
        p, o = z - reach, z - beyond
        if wanted and max(first - 1, 0) <= p < depth:
            _box_plane(ring_sums, reach, sheets[p % 3])
        if wanted and first <= o < last:
            before, after = sheets[max(o - 1, 0) % 3], sheets[min(o + 1, depth - 1) % 3]
            edges = (o == 0, o == depth - 1)
            _transposed_differences(before, sheets[o % 3], after, edges, factor, gradient[o])
    return total


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _agree(warped, directions, weight, mask, reach, floor, bounds, factor, gradient):
    totals = np.zeros(len(bounds) - 1)
    for t in prange(len(bounds) - 1):
        totals[t] = _agree_slab(
            bounds[t], bounds[t + 1], warped, directions, weight, mask, reach, floor, factor, gradient
        )
    return totals.sum()
