"""Loops over dense 3-D displacement fields: composition, its derivative, inversion and the Jacobian determinant.

Fields are float32 (3, Z, Y, X), components z, y, x, in voxels of their own grid; beyond it the border value holds.
The twins in plain torch are in `deformgan.spatial.field` and `deformgan.spatial.jacobian`.  Every loop writes each
voxel from one thread in a fixed order, so the result is the same for any number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Float = NDArray[np.float32]

_SLABS = 16  # of planes in `splat`; each is written by one thread


def compose(u: Float, v: Float) -> Float:
    """w(x) = v(x) + u(x + v(x)): first v, then u; all (3, Z, Y, X) on one grid."""
    _agree(u, v)
    out = np.empty_like(v)
    _compose(u, v, out)
    return out


def compose_gradient(u: Float, v: Float, gradient: Float) -> Float:
    """Derivative of <gradient, compose(u, v)> by v, (3, Z, Y, X); the one by u is `splat(gradient, v)`."""
    _agree(u, v, gradient)
    out = np.empty_like(v)
    _compose_gradient(u, v, gradient, out)
    return out


def splat(values: Float, v: Float) -> Float:
    """Adjoint of sampling at x + v(x): spreads values (C, Z, Y, X) over the eight voxels each of them was read from."""
    _agree(values[0], v[0])
    out = np.zeros_like(values)
    _splat(values, v, out)
    return out


def invert(u: Float, iterations: int, tolerance: float) -> tuple[Float, Float]:
    """The v with v(x) + u(x + v(x)) = 0, and the length of what is left of that sum, (Z, Y, X), in voxels.

    Fixed point v <- v - t (v + u(x + v)) from v = 0, t = 1, run row by row while the row is in cache until its largest
    remainder is below `tolerance` voxels; t is halved for a row whose largest remainder grows.
    """
    inverse, residual = np.zeros_like(u), np.empty(u.shape[1:], np.float32)
    _invert(u, iterations, np.float32(tolerance), inverse, residual)
    return inverse, residual


def jacobian_determinant(u: Float) -> Float:
    """det(I + du/dx), (Z, Y, X): central differences, one-sided at the borders; at least two voxels along each axis."""
    out = np.empty(u.shape[1:], np.float32)
    _jacobian(u, out)
    return out


def _agree(*arrays: Float) -> None:
    """Raise ValueError unless all have one shape: the loops do not look again."""
    if len({a.shape for a in arrays}) > 1:
        raise ValueError(f"fields must share one grid; got {[a.shape for a in arrays]}")


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _locate_row(v, z, y, size, cell, step, weight):
    """Cells of x + v(x) along the row (z, y): flat index, steps to the far corners (0 at a border), weights."""
    one, zero = np.int32(1), np.int32(0)
    nz, ny, nx = np.int32(size[0]), np.int32(size[1]), np.int32(size[2])
    fz, fy, fx, low = np.float32(nz), np.float32(ny), np.float32(nx), np.float32(-1)
    for x in range(size[2]):
        pz = min(max(v[0, z, y, x] + np.float32(z), low), fz)
        py = min(max(v[1, z, y, x] + np.float32(y), low), fy)
        px = min(max(v[2, z, y, x] + np.float32(x), low), fx)
        qz, qy, qx = np.floor(pz), np.floor(py), np.floor(px)
        weight[0, x], weight[1, x], weight[2, x] = pz - qz, py - qy, px - qx
        iz, iy, ix = np.int32(qz), np.int32(qy), np.int32(qx)
        z0, z1 = min(max(iz, zero), nz - one), min(max(iz + one, zero), nz - one)
        y0, y1 = min(max(iy, zero), ny - one), min(max(iy + one, zero), ny - one)
        x0, x1 = min(max(ix, zero), nx - one), min(max(ix + one, zero), nx - one)
        cell[x] = (z0 * ny + y0) * nx + x0
        step[0, x], step[1, x], step[2, x] = (z1 - z0) * ny * nx, (y1 - y0) * nx, x1 - x0


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _sample_row(flat, cell, step, weight, value):
    """Trilinear values (3, X) of the three channels of flat (3, voxels)."""
    for x in range(value.shape[1]):
        a = np.uint32(cell[x])
        b = a + np.uint32(step[1, x])
        c, d, e = a + np.uint32(step[0, x]), b + np.uint32(step[0, x]), np.uint32(step[2, x])
        ae, be, ce, de = np.uint32(a + e), np.uint32(b + e), np.uint32(c + e), np.uint32(d + e)
        wz, wy, wx = weight[0, x], weight[1, x], weight[2, x]
        for k in range(3):
            v = flat[k]
            c00, c01 = v[a] + wx * (v[ae] - v[a]), v[b] + wx * (v[be] - v[b])
            c10, c11 = v[c] + wx * (v[ce] - v[c]), v[d] + wx * (v[de] - v[d])
            c0, c1 = c00 + wy * (c01 - c00), c10 + wy * (c11 - c10)
            value[k, x] = c0 + wz * (c1 - c0)


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _compose(u, v, out):
    size = u.shape[1:]
    flat = u.reshape(3, -1)
    for z in prange(size[0]):
        cell, step = np.empty(size[2], np.int32), np.empty((3, size[2]), np.int32)
        weight, value = np.empty((3, size[2]), np.float32), np.empty((3, size[2]), np.float32)
        for y in range(size[1]):
            _locate_row(v, z, y, size, cell, step, weight)
            _sample_row(flat, cell, step, weight, value)
            for k in range(3):
                for x in range(size[2]):
                    out[k, z, y, x] = v[k, z, y, x] + value[k, x]


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _compose_gradient(u, v, gradient, out):
    size = u.shape[1:]
    flat = u.reshape(3, -1)
    for z in prange(size[0]):
        cell, step = np.empty(size[2], np.int32), np.empty((3, size[2]), np.int32)
        weight = np.empty((3, size[2]), np.float32)
        for y in range(size[1]):
            _locate_row(v, z, y, size, cell, step, weight)
            for x in range(size[2]):
                a = np.uint32(cell[x])
                b = a + np.uint32(step[1, x])
                c, d, e = a + np.uint32(step[0, x]), b + np.uint32(step[0, x]), np.uint32(step[2, x])
                ae, be, ce, de = np.uint32(a + e), np.uint32(b + e), np.uint32(c + e), np.uint32(d + e)
                wz, wy, wx = weight[0, x], weight[1, x], weight[2, x]
                gz, gy, gx = gradient[0, z, y, x], gradient[1, z, y, x], gradient[2, z, y, x]
                # The three channels are contracted with the gradient first: J^T g is the slope of <g, u>.
                v000 = gz * flat[0, a] + gy * flat[1, a] + gx * flat[2, a]
                v010 = gz * flat[0, b] + gy * flat[1, b] + gx * flat[2, b]
                v100 = gz * flat[0, c] + gy * flat[1, c] + gx * flat[2, c]
                v110 = gz * flat[0, d] + gy * flat[1, d] + gx * flat[2, d]
                e00 = gz * flat[0, ae] + gy * flat[1, ae] + gx * flat[2, ae] - v000
                e01 = gz * flat[0, be] + gy * flat[1, be] + gx * flat[2, be] - v010
                e10 = gz * flat[0, ce] + gy * flat[1, ce] + gx * flat[2, ce] - v100
                e11 = gz * flat[0, de] + gy * flat[1, de] + gx * flat[2, de] - v110
                c00, c01, c10, c11 = v000 + wx * e00, v010 + wx * e01, v100 + wx * e10, v110 + wx * e11
                e0, e1 = e00 + wy * (e01 - e00), e10 + wy * (e11 - e10)
                out[0, z, y, x] = gz + (c10 + wy * (c11 - c10)) - (c00 + wy * (c01 - c00))
                out[1, z, y, x] = gy + (c01 - c00) + wz * ((c11 - c10) - (c01 - c00))
                out[2, z, y, x] = gx + e0 + wz * (e1 - e0)


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _spread_row(row, cell, step, weight, begin, end, target):
    """Add a row of values to the corners of their cells, those with a flat index in [begin, end) alone."""
    for x in range(row.shape[0]):
        wz, wy, wx = weight[0, x], weight[1, x], weight[2, x]
        for side in range(2):
            a = np.int64(np.uint32(cell[x])) + side * step[0, x]
            if begin <= a < end:
                share = row[x] * wz if side == 1 else row[x] - row[x] * wz
                near, far = share - share * wy, share * wy
                b = np.uint64(a + step[1, x])
                c, d = np.uint64(a + step[2, x]), np.uint64(a + step[1, x] + step[2, x])
                target[np.uint64(a)] += near - near * wx
                target[c] += near * wx
                target[b] += far - far * wx
                target[d] += far * wx


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _splat(values, v, out):
    """Each slab of output planes is filled by one thread, which visits all the rows that may touch it in order."""
    channels, depth, height, width = values.shape
    size = (depth, height, width)
    low, high = np.empty(depth, np.float32), np.empty(depth, np.float32)
    for z in prange(depth):
        first, last = np.float32(depth), np.float32(0)
        for y in range(height):
            for x in range(width):
                first, last = min(first, v[0, z, y, x]), max(last, v[0, z, y, x])
        low[z] = min(max(np.floor(first + np.float32(z)), np.float32(0)), np.float32(depth - 1))
        high[z] = min(max(np.floor(last + np.float32(z)) + np.float32(1), np.float32(0)), np.float32(depth - 1))
    for slab in prange(_SLABS):
        start, stop = slab * depth // _SLABS, (slab + 1) * depth // _SLABS
        cell, step = np.empty(width, np.int32), np.empty((3, width), np.int32)
        weight = np.empty((3, width), np.float32)
        for z in range(depth):
            if high[z] < start or low[z] >= stop:
                continue
            for y in range(height):
                _locate_row(v, z, y, size, cell, step, weight)
                for k in range(channels):
                    row, target = values[k, z, y], out[k].reshape(-1)
                    _spread_row(row, cell, step, weight, start * height * width, stop * height * width, target)


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _invert(u, iterations, tolerance, v, residual):
    size = u.shape[1:]
    flat = u.reshape(3, -1)
    for z in prange(size[0]):
        cell, step = np.empty(size[2], np.int32), np.empty((3, size[2]), np.int32)
        weight, value = np.empty((3, size[2]), np.float32), np.empty((3, size[2]), np.float32)
        for y in range(size[1]):
            rate, before = np.float32(1), np.float32(np.inf)
            for turn in range(iterations + 1):
                _locate_row(v, z, y, size, cell, step, weight)
                _sample_row(flat, cell, step, weight, value)
                worst = np.float32(0)
                for x in range(size[2]):
                    rz, ry, rx = value[0, x] + v[0, z, y, x], value[1, x] + v[1, z, y, x], value[2, x] + v[2, z, y, x]
                    residual[z, y, x] = rz * rz + ry * ry + rx * rx
                    worst = max(worst, residual[z, y, x])
                if turn == iterations or worst <= tolerance * tolerance:
                    break
                if worst > before:
                    rate *= np.float32(0.5)
                before = worst
                for k in range(3):
                    for x in range(size[2]):
                        v[k, z, y, x] -= rate * (value[k, x] + v[k, z, y, x])
            for x in range(size[2]):
                residual[z, y, x] = np.sqrt(residual[z, y, x])


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _jacobian(u, out):
    depth, height, width = out.shape
    half, one = np.float32(0.5), np.float32(1)
    for z in prange(depth):
        zm, zp = max(z - 1, 0), min(z + 1, depth - 1)
        sz = half if zp - zm == 2 else one
        slope = np.empty((3, width), np.float32)
        for y in range(height):
            ym, yp = max(y - 1, 0), min(y + 1, height - 1)
            sy = half if yp - ym == 2 else one
            for k in range(3):
                row = u[k, z, y]
                slope[k, 0], slope[k, width - 1] = row[1] - row[0], row[width - 1] - row[width - 2]
                for x in range(1, width - 1):
                    slope[k, x] = half * (row[x + 1] - row[x - 1])
            for x in range(width):
                zz, yz, xz = (
                    one + sz * (u[0, zp, y, x] - u[0, zm, y, x]),
                    sz * (u[1, zp, y, x] - u[1, zm, y, x]),
                    sz * (u[2, zp, y, x] - u[2, zm, y, x]),
                )
                zy, yy, xy = (
                    sy * (u[0, z, yp, x] - u[0, z, ym, x]),
                    one + sy * (u[1, z, yp, x] - u[1, z, ym, x]),
                    sy * (u[2, z, yp, x] - u[2, z, ym, x]),
                )
                zx, yx, xx = slope[0, x], slope[1, x], one + slope[2, x]
                out[z, y, x] = zz * (yy * xx - yx * xy) - zy * (yz * xx - yx * xz) + zx * (yz * xy - yy * xz)
