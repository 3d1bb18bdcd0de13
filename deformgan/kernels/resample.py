"""Pull a moving image onto a reference grid through affine -> displacement field -> affine, in one pass.

Unlike `deformgan.kernels.warp`, the displacement field may lie on any lattice in the world, in mm, x y z, as it is kept
in files; no dense array of coordinates is stored.  Positions are float64, so that what is inside and what is nearest is
decided as ITK decides it.  Each output voxel is computed alone: the result is the same for any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Array = NDArray[Any]
Float = NDArray[np.float32]
Double = NDArray[np.float64]

STRAIGHT = 1e-9  # an axis that leans by fewer voxels a voxel is straight, but for rounding: its rows are read faster
_NO_FIELD = np.zeros((0, 0, 0, 3), np.float32)


def resample(
    moving: Array,
    matrix: Double,
    out: Array,
    *,
    field: Float | None = None,
    to_field: Double | None = None,
    turn: Double | None = None,
    outside: float = 0.0,
    nearest: bool = False,
) -> None:
    """Fill `out` with moving(matrix (x, 1) + turn u(to_field (x, 1))) for every voxel index x of the reference grid.

    moving: (Z, Y, X); float32, or with `nearest` any type of 1, 2, 4 or 8 bytes.  out: (Z', Y', X') of that type.
    matrix: (4, 4), index x y z of the reference -> index x y z of moving.  field: u, (z, y, x, 3), mm, x y z, or None
    for u = 0.  to_field: (4, 4), reference index -> field index.  turn: (3, 3), mm -> moving index.
    A point with a continuous index in [-0.5, n - 0.5) on every axis is inside and clamped to the edge; elsewhere the
    result is `outside`, and u = 0 outside its own lattice.  Nearest rounds halves up.
    """
    u = _NO_FIELD if field is None else np.ascontiguousarray(field, np.float32)
    lattice = np.eye(4) if to_field is None else np.ascontiguousarray(to_field, np.float64)
    lattice = np.where(np.abs(lattice) < STRAIGHT, 0.0, lattice)
    linear = np.eye(3) if turn is None else np.ascontiguousarray(turn, np.float64)
    chain = np.ascontiguousarray(matrix, np.float64), lattice, linear, u
    if nearest:
        bits = np.dtype(f"u{moving.itemsize}")  # copied as they are, so one compiled loop serves every type of a width
        value = np.array([outside]).astype(moving.dtype).view(bits)[0]
        _nearest(np.ascontiguousarray(moving).view(bits), *chain, value, out.view(bits))
    else:
        _linear(np.ascontiguousarray(moving, np.float32), *chain, np.float32(outside), out)


def dense_displacement(field: Float, to_field: Double, turn: Double, out: Float) -> None:
    """Fill out (Z, Y, X, 3), of any strides, with turn u(to_field (x, 1)) for every voxel index x of its grid.

    field: u, (z, y, x, 3), mm, x y z, 0 outside its lattice.  to_field: (4, 4), index x y z of the grid -> of the
    lattice.  turn: (3, 3), mm -> the components wanted.
    """
    lattice = np.ascontiguousarray(to_field, np.float64)
    lattice = np.where(np.abs(lattice) < STRAIGHT, 0.0, lattice)
    chain = lattice, np.ascontiguousarray(turn, np.float64), np.ascontiguousarray(field, np.float32)
    _dense(*chain, out)


def displace(points: Double, field: Float, to_field: Double) -> Double:
    """points (N, 3), mm, plus u(to_field (point, 1)); field: u, (z, y, x, 3), mm, x y z, 0 outside its lattice.

    to_field: (4, 4), mm -> field index.
    """
    out = np.empty(points.shape, np.float64)
    lattice = np.ascontiguousarray(to_field, np.float64)
    _displace(np.ascontiguousarray(points, np.float64), np.ascontiguousarray(field, np.float32), lattice, out)
    return out


@njit(inline="always", error_model="numpy", nogil=True)
def _node(p, n):
    """The voxel below p clamped to [0, n - 1], the one above, and the weight of the latter."""
    q = min(max(p, 0.0), n - 1.0)
    low = np.int64(q)
    return low, min(low + 1, n - 1), q - low


@njit(inline="always", error_model="numpy", nogil=True)
def _inside(px, py, pz, nx, ny, nz):
    """Whether a continuous index lies in [-0.5, n - 0.5) on every axis; False for NaN."""
    return (px >= -0.5) & (py >= -0.5) & (pz >= -0.5) & (px < nx - 0.5) & (py < ny - 0.5) & (pz < nz - 0.5)


@njit(fastmath={"contract"}, error_model="numpy", nogil=True)
def _displacement(field, px, py, pz):
    """u (mm, x y z) at a continuous index of its lattice, trilinear in float64; 0 outside the lattice."""
    nz, ny, nx = field.shape[0], field.shape[1], field.shape[2]
    if not _inside(px, py, pz, nx, ny, nz):
        return 0.0, 0.0, 0.0
    x0, x1, wx = _node(px, nx)
    y0, y1, wy = _node(py, ny)
    z0, z1, wz = _node(pz, nz)
    nodes = field.reshape(-1, 3)
    row00, row01 = (z0 * ny + y0) * nx, (z0 * ny + y1) * nx
    row10, row11 = (z1 * ny + y0) * nx, (z1 * ny + y1) * nx
    ux, uy, uz = 0.0, 0.0, 0.0
    vx, vy = 1.0 - wx, 1.0 - wy
    for row, weight in ((row00, (1.0 - wz) * vy), (row01, (1.0 - wz) * wy), (row10, wz * vy), (row11, wz * wy)):
        a, b = np.uint64(row + x0), np.uint64(row + x1)
        near, far = weight * vx, weight * wx
        ux += near * nodes[a, 0] + far * nodes[b, 0]
        uy += near * nodes[a, 1] + far * nodes[b, 1]
        uz += near * nodes[a, 2] + far * nodes[b, 2]
    return ux, uy, uz


@njit(inline="always", fastmath={"contract"}, error_model="numpy", nogil=True)
def _blend_row(field, turn, y, z, blend):
    """Fill blend (3, x) with turn u along x of the lattice, at its continuous indices y and z inside the lattice."""
    y0, y1, wy = _node(y, field.shape[1])
    z0, z1, wz = _node(z, field.shape[0])
    a, b, c, d = field[z0, y0], field[z0, y1], field[z1, y0], field[z1, y1]
    w00, w01, w10, w11 = (1.0 - wz) * (1.0 - wy), (1.0 - wz) * wy, wz * (1.0 - wy), wz * wy
    for i in range(blend.shape[1]):
        ux = w00 * a[i, 0] + w01 * b[i, 0] + w10 * c[i, 0] + w11 * d[i, 0]
        uy = w00 * a[i, 1] + w01 * b[i, 1] + w10 * c[i, 1] + w11 * d[i, 1]
        uz = w00 * a[i, 2] + w01 * b[i, 2] + w10 * c[i, 2] + w11 * d[i, 2]
        blend[0, i] = turn[0, 0] * ux + turn[0, 1] * uy + turn[0, 2] * uz
        blend[1, i] = turn[1, 0] * ux + turn[1, 1] * uy + turn[1, 2] * uz
        blend[2, i] = turn[2, 0] * ux + turn[2, 1] * uy + turn[2, 2] * uz


@njit(inline="always", fastmath={"contract"}, error_model="numpy", nogil=True)
def _locate_row(matrix, to_field, turn, field, z, y, blend, row):
    """Fill row (3, X') with the continuous moving index, x y z, of every voxel of the reference row (z, y)."""
    ax = matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
    ay = matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
    az = matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
    for x in range(row.shape[1]):
        row[0, x], row[1, x], row[2, x] = ax + matrix[0, 0] * x, ay + matrix[1, 0] * x, az + matrix[2, 0] * x
    if field.shape[0] == 0:
        return
    bx = to_field[0, 1] * y + to_field[0, 2] * z + to_field[0, 3]
    by = to_field[1, 1] * y + to_field[1, 2] * z + to_field[1, 3]
    bz = to_field[2, 1] * y + to_field[2, 2] * z + to_field[2, 3]
    nodes = field.shape[2]
    if to_field[1, 0] == 0.0 and to_field[2, 0] == 0.0:  # the row runs along a row of the lattice: blend that once
        if not _inside(0.0, by, bz, nodes, field.shape[1], field.shape[0]):
            return
        _blend_row(field, turn, by, bz, blend)
        for x in range(row.shape[1]):
            px = bx + to_field[0, 0] * x
            if (px >= -0.5) & (px < nodes - 0.5):
                i, j, w = _node(px, nodes)
                a, b = np.uint64(i), np.uint64(j)
                row[0, x] += blend[0, a] + w * (blend[0, b] - blend[0, a])
                row[1, x] += blend[1, a] + w * (blend[1, b] - blend[1, a])
                row[2, x] += blend[2, a] + w * (blend[2, b] - blend[2, a])
        return
    for x in range(row.shape[1]):
        px, py, pz = bx + to_field[0, 0] * x, by + to_field[1, 0] * x, bz + to_field[2, 0] * x
        ux, uy, uz = _displacement(field, px, py, pz)
        row[0, x] += turn[0, 0] * ux + turn[0, 1] * uy + turn[0, 2] * uz
        row[1, x] += turn[1, 0] * ux + turn[1, 1] * uy + turn[1, 2] * uz
        row[2, x] += turn[2, 0] * ux + turn[2, 1] * uy + turn[2, 2] * uz


@njit(inline="always", fastmath={"contract"}, error_model="numpy", nogil=True)
def _sample(flat, nx, ny, nz, px, py, pz):
    """Trilinear value of the image flat (Z * Y * X) at a continuous index inside it."""
    x0, x1, fx = _node(px, nx)
    y0, y1, fy = _node(py, ny)
    z0, z1, fz = _node(pz, nz)
    wx, wy, wz = np.float32(fx), np.float32(fy), np.float32(fz)
    row00, row01 = (z0 * ny + y0) * nx, (z0 * ny + y1) * nx
    row10, row11 = (z1 * ny + y0) * nx, (z1 * ny + y1) * nx
    v00, v01, v10, v11 = (
        flat[np.uint64(row00 + x0)],
        flat[np.uint64(row01 + x0)],
        flat[np.uint64(row10 + x0)],
        flat[np.uint64(row11 + x0)],
    )
    v00 += wx * (flat[np.uint64(row00 + x1)] - v00)
    v01 += wx * (flat[np.uint64(row01 + x1)] - v01)
    v10 += wx * (flat[np.uint64(row10 + x1)] - v10)
    v11 += wx * (flat[np.uint64(row11 + x1)] - v11)
    v00 += wy * (v01 - v00)
    v10 += wy * (v11 - v10)
    return v00 + wz * (v10 - v00)


@njit(parallel=True, cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _linear(moving, matrix, to_field, turn, field, outside, out):
    nz, ny, nx = moving.shape
    flat = moving.reshape(-1)
    for z in prange(out.shape[0]):
        row, blend = np.empty((3, out.shape[2]), np.float64), np.empty((3, field.shape[2]), np.float64)
        for y in range(out.shape[1]):
            _locate_row(matrix, to_field, turn, field, z, y, blend, row)
            for x in range(out.shape[2]):
                px, py, pz = row[0, x], row[1, x], row[2, x]
                if _inside(px, py, pz, nx, ny, nz):
                    out[z, y, x] = _sample(flat, nx, ny, nz, px, py, pz)
                else:
                    out[z, y, x] = outside


@njit(parallel=True, cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _nearest(moving, matrix, to_field, turn, field, outside, out):
    nz, ny, nx = moving.shape
    flat = moving.reshape(-1)
    for z in prange(out.shape[0]):
        row, blend = np.empty((3, out.shape[2]), np.float64), np.empty((3, field.shape[2]), np.float64)
        for y in range(out.shape[1]):
            _locate_row(matrix, to_field, turn, field, z, y, blend, row)
            for x in range(out.shape[2]):
                px, py, pz = row[0, x], row[1, x], row[2, x]
                if _inside(px, py, pz, nx, ny, nz):
                    # Inside, p + 0.5 >= 0, so cutting the fraction off is rounding halves up.
                    i, j, k = np.int64(px + 0.5), np.int64(py + 0.5), np.int64(pz + 0.5)
                    out[z, y, x] = flat[np.uint64((min(k, nz - 1) * ny + min(j, ny - 1)) * nx + min(i, nx - 1))]
                else:
                    out[z, y, x] = outside


@njit(parallel=True, cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _dense(to_field, turn, field, out):
    still = np.zeros((3, 4))
    for z in prange(out.shape[0]):
        row, blend = np.empty((3, out.shape[2]), np.float64), np.empty((3, field.shape[2]), np.float64)
        for y in range(out.shape[1]):
            _locate_row(still, to_field, turn, field, z, y, blend, row)
            for x in range(out.shape[2]):
                out[z, y, x, 0], out[z, y, x, 1], out[z, y, x, 2] = row[0, x], row[1, x], row[2, x]


@njit(parallel=True, cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _displace(points, field, to_field, out):
    for i in prange(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        px = to_field[0, 0] * x + to_field[0, 1] * y + to_field[0, 2] * z + to_field[0, 3]
        py = to_field[1, 0] * x + to_field[1, 1] * y + to_field[1, 2] * z + to_field[1, 3]
        pz = to_field[2, 0] * x + to_field[2, 1] * y + to_field[2, 2] * z + to_field[2, 3]
        ux, uy, uz = _displacement(field, px, py, pz)
        out[i, 0], out[i, 1], out[i, 2] = x + ux, y + uy, z + uz
