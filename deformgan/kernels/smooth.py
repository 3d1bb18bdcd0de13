"""Separable Gaussian of a 3-D float32 field, two axes in one pass while a plane is in cache.

At the border the truncated weights are renormalised over the voxels that exist, so a constant stays a constant.  Each
line is computed alone, so the result is the same for any number of threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Float = NDArray[np.float32]

_ROWS = 8  # of a plane taken together along z: with the taps' planes they fit the second-level cache


def gaussian_taps(sigma: float, truncate: float = 3.0) -> NDArray[np.float64]:
    """Weights 0..r of one side, r = ceil(truncate * sigma), the whole summing to 1; sigma in voxels, 0 = identity."""
    if sigma <= 0:
        return np.ones(1)
    side = np.exp(-0.5 * (np.arange(math.ceil(truncate * sigma) + 1) / sigma) ** 2)
    weights: NDArray[np.float64] = side / (2 * side.sum() - side[0])
    return weights


def border_share(size: int, taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the weights that fall inside an axis of `size` voxels, per voxel; in (0, 1]."""
    kernel = np.concatenate([taps[:0:-1], taps])
    centre = len(taps) - 1
    share: NDArray[np.float64] = np.convolve(np.ones(size), kernel)[centre : centre + size]
    return share


def gaussian(field: Float, sigma: tuple[float, float, float], *, adjoint: bool = False) -> Float:
    """Gaussian of every channel of field (C, Z, Y, X); sigma along z, y, x in voxels, cut at 3 sigma -> a new array.

    The operator is D^-1 K, K the plain convolution and D its border sums; `adjoint` applies K D^-1, its transpose.
    """
    taps = [gaussian_taps(s) for s in sigma]
    sizes = zip(field.shape[1:], taps, strict=True)
    along_z, along_y, along_x = ((1 / border_share(n, t)).astype(np.float32) for n, t in sizes)
    weights = [t.astype(np.float32) for t in taps]
    planes, out = np.empty_like(field), np.empty_like(field)
    _smooth_planes(field, weights[1], weights[2], along_z, along_y, along_x, adjoint, planes)
    _smooth_depth(planes, weights[0], along_z, along_y, along_x, not adjoint, out)
    return out


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _smooth_planes(field, taps_y, taps_x, scale_z, scale_y, scale_x, scaled, out):
    """Convolution along x, then y, of every plane; multiplied by the three scales first if `scaled`."""
    channels, depth, height, width = field.shape
    ry, rx = len(taps_y) - 1, len(taps_x) - 1
    for n in prange(channels * depth):
        c, z = n // depth, n % depth
        line, total = np.zeros(width + 2 * rx, np.float32), np.empty(width, np.float32)
        plane = np.zeros((height + 2 * ry, width), np.float32)
        for y in range(height):
            s, here = scale_z[z] * scale_y[y], line[rx:]
            for x in range(width):
                here[x] = field[c, z, y, x] * s * scale_x[x] if scaled else field[c, z, y, x]
            row = plane[ry + y]
            for x in range(width):
                total[x] = taps_x[0] * here[x]
            for k in range(1, rx + 1):
                # Slices, as an index that could be negative keeps the loop from being vectorised.
                w, left, right = taps_x[k], line[rx - k :], line[rx + k :]
                for x in range(width):
                    total[x] += w * (left[x] + right[x])
            for x in range(width):
                row[x] = total[x]
        for y in range(height):
            row = plane[ry + y]
            for x in range(width):
                total[x] = taps_y[0] * row[x]
            for k in range(1, ry + 1):
                w, left, right = taps_y[k], plane[ry + y - k], plane[ry + y + k]
                for x in range(width):
                    total[x] += w * (left[x] + right[x])
            for x in range(width):
                out[c, z, y, x] = total[x]


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _smooth_depth(field, taps, scale_z, scale_y, scale_x, scaled, out):
    """Convolution along z, a few rows at a time; multiplied by the three scales last if `scaled`."""
    channels, depth, height, width = field.shape
    radius = len(taps) - 1
    blocks = (height + _ROWS - 1) // _ROWS
    for n in prange(channels * blocks):
        c, start = n // blocks, n % blocks * _ROWS
        total = np.empty(width, np.float32)
        for z in range(depth):
            for y in range(start, min(start + _ROWS, height)):
                for x in range(width):
                    total[x] = taps[0] * field[c, z, y, x]
                for k in range(1, radius + 1):
                    lower, upper, w = z - k, z + k, taps[k]
                    if lower >= 0 and upper < depth:
                        for x in range(width):
                            total[x] += w * (field[c, lower, y, x] + field[c, upper, y, x])
                    elif lower >= 0 or upper < depth:
                        one = lower if lower >= 0 else upper
                        for x in range(width):
                            total[x] += w * field[c, one, y, x]
                s = scale_z[z] * scale_y[y]
                for x in range(width):
                    out[c, z, y, x] = total[x] * s * scale_x[x] if scaled else total[x]
