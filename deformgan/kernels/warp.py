"""Trilinear warp of a 3-D float32 image through an affine matrix and a displacement lattice, in one pass.

No sampling grid and, for a coarse lattice, no dense displacement is ever stored.  The twin of these kernels in plain
torch is `deformgan.spatial.warp`.  Every output voxel is computed alone, so the result is the same for any number of
threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from deformgan.kernels.lattice import lattice_weights
from deformgan.kernels.spans import Spans, dealt, whole
from deformgan.kernels.threads import threads_in_use

Float = NDArray[np.float32]

_NO_WEIGHT = np.empty((0, 0, 0), np.float32)
_NO_FIELD = np.empty((3, 0, 0, 0), np.float32)
_NO_MASK = np.empty((0, 0, 0), np.bool_)


def warp_composed(
    image: Float,
    matrix: NDArray[np.float64],
    displacement: Float | None,
    out: Float,
    *,
    gradient: Float | None = None,
    inside: NDArray[np.bool_] | None = None,
    weight: Float | None = None,
    fixed_weight: Float | None = None,
    valid: NDArray[np.bool_] | None = None,
    spans: Spans | None = None,
    factors: tuple[int, int, int] = (1, 1, 1),
    outside: float = 0.0,
    border: bool = False,
) -> None:
    """Fill `out` with image(matrix @ (x, 1)), x = p + U(p), for every voxel index p (z, y, x) of the output grid.

    image: (Z, Y, X).  matrix: (3, 4) or (4, 4), output voxel index -> image voxel index, both z, y, x.
    displacement: (3, z, y, x), components z, y, x in voxels of the output grid, on a lattice `factors` times coarser:
    node k sits at output index f * k + (f - 1) / 2, U is trilinear between nodes and constant beyond the outermost;
    None means U = 0.  out: (Z', Y', X'), its shape is the output grid.
    gradient: (3, Z', Y', X') or None, filled with d out / d U (per output voxel, z, y, x).
    inside: bool (Z', Y', X') or None, filled with whether the sampled point lies in [-0.5, n - 0.5) on every axis.
    weight: (Z', Y', X') or None, filled with fixed_weight (none = 1) where the point is inside and its nearest voxel in
    `valid` (Z, Y, X; none = all), else with 0.  spans: what is computed; the rest of every output stays as it is.
    A point outside takes `outside` (or, with `border`, the nearest border value); its gradient is 0 (along the axes
    that left the image).  All arrays but the matrix are float32; images of 2**32 voxels or more are not supported.
    """
    shape = out.shape
    if gradient is not None and gradient.shape != (3, *shape):
        raise ValueError(f"gradient must be {(3, *shape)}, as out; got {gradient.shape}")
    for name, array, expected in (
        ("inside", inside, shape),
        ("weight", weight, shape),
        ("fixed_weight", fixed_weight, shape),
        ("valid", valid, image.shape),
    ):
        if array is not None and array.shape != expected:
            raise ValueError(f"{name} must be {expected}; got {array.shape}")
    field = _NO_FIELD if displacement is None else np.ascontiguousarray(displacement, np.float32)
    _warp(
        np.ascontiguousarray(image, np.float32),
        np.ascontiguousarray(matrix, np.float64)[:3],
        field,
        field.shape[1:] == shape and tuple(factors) == (1, 1, 1),
        lattice_weights(shape[0], field.shape[1], factors[0]),
        lattice_weights(shape[1], field.shape[2], factors[1]),
        lattice_weights(shape[2], field.shape[3], factors[2]),
        np.float32(outside),
        border,
        out,
        _NO_FIELD if gradient is None else gradient,
        _NO_MASK if inside is None else inside,
        _NO_WEIGHT if weight is None else weight,
        _NO_WEIGHT if fixed_weight is None else fixed_weight,
        _NO_MASK if valid is None else valid,
        whole(shape) if spans is None else spans,
        dealt(shape[0], threads_in_use()),
    )


def resize(field: Float, shape: tuple[int, int, int]) -> Float:
    """The displacement (3, z, y, x), in voxels, on a grid of `shape` over the same field of view, in voxels of that.

    Linear between voxel centres, constant beyond the outermost (align_corners=False).
    """
    out = np.empty((3, *shape), np.float32)
    sizes = list(zip(shape, field.shape[1:], strict=True))
    at_z, at_y, at_x = (lattice_weights(n, m, n / m) for n, m in sizes)
    scale = np.array([n / m for n, m in sizes], np.float32)
    _resize(np.ascontiguousarray(field, np.float32), at_z, at_y, at_x, scale, out)
    return out


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _expand_row(field, at_z, at_y, along_x, z, y, first, last, dense, nodes, row):
    """U along voxels first..last - 1 of the row (z, y) -> row (3, X'), from its beginning.

    Blended from lattice rows in `nodes` (3, x + 1), or copied if `dense`.
    """
    if dense:
        for c in range(3):
            source = field[c, z, y, first:last]
            for x in range(len(source)):
                row[c, x] = source[x]
        return
    index_z, weight_z = at_z
    index_y, weight_y = at_y
    index_x, weight_x = along_x[0][first:last], along_x[1][first:last]
    k, m, a, b = index_z[z], index_y[y], weight_z[z], weight_y[y]
    kk, mm = min(k + 1, field.shape[1] - 1), min(m + 1, field.shape[2] - 1)
    end = field.shape[3] - 1
    low, high = index_x[0], min(index_x[-1] + 1, end) + 1
    for c in range(3):
        near, near_y = field[c, k, m, low:high], field[c, k, mm, low:high]
        far, far_y = field[c, kk, m, low:high], field[c, kk, mm, low:high]
        blended = nodes[c, low:high]
        for x in range(len(blended)):
            front = near[x] + b * (near_y[x] - near[x])
            back = far[x] + b * (far_y[x] - far[x])
            blended[x] = front + a * (back - front)
        nodes[c, end + 1] = nodes[c, end]
    for x in range(len(index_x)):
        i, w = np.uint32(index_x[x]), weight_x[x]
        j = i + np.uint32(1)
        row[0, x] = nodes[0, i] + w * (nodes[0, j] - nodes[0, i])
        row[1, x] = nodes[1, i] + w * (nodes[1, j] - nodes[1, i])
        row[2, x] = nodes[2, i] + w * (nodes[2, j] - nodes[2, i])


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _locate_row(count, start, slope, u, size, cell, step, weight, within):
    """Image cells of the first `count` voxels of a row: flat index, steps to the far corners, weights, whether inside.

    start, slope: image index of voxel 0 of the row at U = 0 (3,), and the 3x3 part of the matrix.
    """
    real = weight.dtype.type
    one, half = real(1), real(0.5)
    nz, ny, nx = np.int32(size[0]), np.int32(size[1]), np.int32(size[2])
    fz, fy, fx = real(nz), real(ny), real(nx)
    for x in range(count):
        uz, uy, ux = u[0, x], u[1, x], u[2, x] + real(x)
        pz = start[0] + slope[0, 0] * uz + slope[0, 1] * uy + slope[0, 2] * ux
        py = start[1] + slope[1, 0] * uz + slope[1, 1] * uy + slope[1, 2] * ux
        px = start[2] + slope[2, 0] * uz + slope[2, 1] * uy + slope[2, 2] * ux
        low = (pz >= -half) & (py >= -half) & (px >= -half)
        within[x] = low & (pz < fz - half) & (py < fy - half) & (px < fx - half)
        pz, py, px = min(max(pz, -one), fz), min(max(py, -one), fy), min(max(px, -one), fx)
        qz, qy, qx = np.floor(pz), np.floor(py), np.floor(px)
        weight[0, x], weight[1, x], weight[2, x] = pz - qz, py - qy, px - qx
        iz, iy, ix = np.int32(qz), np.int32(qy), np.int32(qx)
        z0, z1 = min(max(iz, np.int32(0)), nz - np.int32(1)), min(max(iz + np.int32(1), np.int32(0)), nz - np.int32(1))
        y0, y1 = min(max(iy, np.int32(0)), ny - np.int32(1)), min(max(iy + np.int32(1), np.int32(0)), ny - np.int32(1))
        x0, x1 = min(max(ix, np.int32(0)), nx - np.int32(1)), min(max(ix + np.int32(1), np.int32(0)), nx - np.int32(1))
        cell[x] = (z0 * ny + y0) * nx + x0
        step[0, x], step[1, x], step[2, x] = (z1 - z0) * ny * nx, (y1 - y0) * nx, x1 - x0


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _sample_row(flat, cell, step, weight, within, border, outside, slope, value, gradient):
    """Trilinear values of one row and, where the three rows of `gradient` are not empty, their derivative by U."""
    by_z, by_y, by_x = gradient[0], gradient[1], gradient[2]
    wanted = len(by_z) > 0
    zero = value.dtype.type(0)
    for x in range(value.shape[0]):
        a = np.uint32(cell[x])
        b = a + np.uint32(step[1, x])
        c, d, e = a + np.uint32(step[0, x]), b + np.uint32(step[0, x]), np.uint32(step[2, x])
        v00, v01, v10, v11 = flat[a], flat[b], flat[c], flat[d]
        e00, e01 = flat[np.uint32(a + e)] - v00, flat[np.uint32(b + e)] - v01
        e10, e11 = flat[np.uint32(c + e)] - v10, flat[np.uint32(d + e)] - v11
        wz, wy, wx = weight[0, x], weight[1, x], weight[2, x]
        c00, c01, c10, c11 = v00 + wx * e00, v01 + wx * e01, v10 + wx * e10, v11 + wx * e11
        c0, c1 = c00 + wy * (c01 - c00), c10 + wy * (c11 - c10)
        keep = within[x] | border
        value[x] = c0 + wz * (c1 - c0) if keep else outside
        if wanted:
            e0, e1 = e00 + wy * (e01 - e00), e10 + wy * (e11 - e10)
            gz = c1 - c0 if keep else zero
            gy = (c01 - c00) + wz * ((c11 - c10) - (c01 - c00)) if keep else zero
            gx = e0 + wz * (e1 - e0) if keep else zero
            by_z[x] = gz * slope[0, 0] + gy * slope[1, 0] + gx * slope[2, 0]
            by_y[x] = gz * slope[0, 1] + gy * slope[1, 1] + gx * slope[2, 1]
            by_x[x] = gz * slope[0, 2] + gy * slope[1, 2] + gx * slope[2, 2]


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _weigh_row(valid, cell, step, weight, within, fixed_weight, out):
    """The weight of each voxel of a row: see warp_composed; `valid` flat, `fixed_weight` a row, either may be empty."""
    half = np.float32(0.5)
    if valid.shape[0] > 0:
        for x in range(len(out)):
            a = np.uint32(cell[x])
            a += np.uint32(step[0, x]) * np.uint32(weight[0, x] + half)  # no branches: they would be mispredicted
            a += np.uint32(step[1, x]) * np.uint32(weight[1, x] + half)
            a += np.uint32(step[2, x]) * np.uint32(weight[2, x] + half)
            out[x] = np.float32(within[x] & valid[np.uint32(a)])
    else:
        for x in range(len(out)):
            out[x] = np.float32(within[x])
    if fixed_weight.shape[0] > 0:
        for x in range(len(out)):
            out[x] *= fixed_weight[x]


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _warp(
    image, matrix, field, dense, at_z, at_y, at_x, outside, border, out, gradient, inside, weights, fixed_weight, valid,
    spans, order,
):  # fmt: skip
    width = out.shape[2]
    flat, flat_valid = image.ravel(), valid.ravel()
    slope = matrix[:, :3].astype(np.float32)
    for n in prange(out.shape[0]):
        z = order[n]
        row = np.zeros((3, width), np.float32)
        nodes = np.empty((3, field.shape[3] + 1), np.float32)
        cell, step = np.empty(width, np.int32), np.empty((3, width), np.int32)
        weight, within = np.empty((3, width), np.float32), np.empty(width, np.bool_)
        start = np.empty(3, np.float32)
        for y in range(out.shape[1]):
            first, last = spans[z, y]
            if first == last:
                continue
            if field.shape[1] > 0:
                _expand_row(field, at_z, at_y, at_x, z, y, first, last, dense, nodes, row)
            for i in range(3):
                start[i] = matrix[i, 0] * z + matrix[i, 1] * y + matrix[i, 2] * first + matrix[i, 3]
            _locate_row(last - first, start, slope, row, image.shape, cell, step, weight, within)
            value = out[z, y, first:last]
            if gradient.shape[1] > 0:
                rise = gradient[0, z, y, first:last], gradient[1, z, y, first:last], gradient[2, z, y, first:last]
            else:
                rise = value[:0], value[:0], value[:0]
            _sample_row(flat, cell, step, weight, within, border, outside, slope, value, rise)
            if inside.shape[0] > 0:
                inside[z, y, first:last] = within[: last - first]
            if weights.shape[0] > 0:
                share = fixed_weight[z, y, first:last] if fixed_weight.shape[0] > 0 else value[:0]
                _weigh_row(flat_valid, cell, step, weight, within, share, weights[z, y, first:last])


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _resize(field, at_z, at_y, at_x, scale, out):
    width = out.shape[3]
    for z in prange(out.shape[1]):
        row, nodes = np.empty((3, width), np.float32), np.empty((3, field.shape[3] + 1), np.float32)
        for y in range(out.shape[2]):
            _expand_row(field, at_z, at_y, at_x, z, y, 0, width, False, nodes, row)
            for c in range(3):
                for x in range(width):
                    out[c, z, y, x] = scale[c] * row[c, x]
