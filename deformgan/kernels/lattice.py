"""A displacement lattice coarser than the grid it displaces: where its nodes lie, and the adjoint of interpolating it.

Node k of an axis sits at voxel f * k + (f - 1) / 2, the centre of its block of f voxels (align_corners=False); the
interpolation is trilinear, and constant beyond the outermost nodes.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from deformgan.kernels.spans import Spans, dealt, span_of, whole
from deformgan.kernels.threads import threads_in_use

Float = NDArray[np.float32]
Weights = tuple[NDArray[np.int32], NDArray[np.float32]]


def lattice_weights(size: int, nodes: int, factor: float) -> Weights:
    """Per voxel of one axis, the node below it and the weight of the node above (0 at and beyond the outermost).

    A factor need not be whole: size / nodes spreads the nodes over the field of view of the voxels.
    """
    if nodes == 0:
        return np.zeros(size, np.int32), np.zeros(size, np.float32)
    position = np.clip((np.arange(size) - (factor - 1) / 2) / factor, 0, nodes - 1)
    index = np.floor(position).astype(np.int32)
    return index, (position - index).astype(np.float32)


def adjoint(
    gradient: Float,
    factors: tuple[int, int, int],
    shape: tuple[int, int, int],
    weight: Float | None = None,
    spans: Spans | None = None,
) -> Float:
    """Gradient by the lattice, (3, z, y, x) = `shape` nodes, from the dense one (3, Z, Y, X): the exact adjoint.

    weight: (Z, Y, X) or None; multiplies all three components on the way (the derivative by the warped image).
    spans: where the gradient is not zero; what it holds elsewhere is not read.
    """
    size = gradient.shape[1:]
    if size == tuple(shape) and tuple(factors) == (1, 1, 1) and spans is None:
        return gradient.copy() if weight is None else gradient * weight
    along = [lattice_weights(n, m, f) for n, m, f in zip(size, shape, factors, strict=True)]
    scale = np.empty((0, 0, 0), np.float32) if weight is None else weight
    planes = np.empty((3, size[0], shape[1], shape[2]), np.float32)
    counted, order = whole(size) if spans is None else spans, dealt(size[0], threads_in_use())
    _gather_planes(gradient, scale, counted, order, along[1], along[2], planes)
    out = np.empty((3, *shape), np.float32)
    _gather_depth(planes, along[0], out)
    return out


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _gather_planes(gradient, scale, spans, order, at_y, at_x, planes):
    """Adjoint along y and x of every plane; `scale` multiplies on the way unless it is empty."""
    height, width = gradient.shape[2:]
    nodes_y, nodes_x = planes.shape[2:]
    index_y, weight_y = at_y
    index_x, weight_x = at_x
    for n in prange(gradient.shape[1]):
        z = order[n]
        rows = np.empty((nodes_y + 1, width), np.float32)
        line = np.empty(nodes_x + 1, np.float32)
        for c in range(3):
            rows[:] = np.float32(0)
            for y in range(height):
                k, b = index_y[y], weight_y[y]
                first, last = span_of(spans, z, y)
                for x in range(first, last):
                    g = gradient[c, z, y, x] * scale[z, y, x] if scale.shape[0] > 0 else gradient[c, z, y, x]
                    rows[k, x] += g - b * g
                    rows[k + 1, x] += b * g
            for k in range(nodes_y):
                line[:] = np.float32(0)
                for x in range(width):
                    i, w, g = np.uint32(index_x[x]), weight_x[x], rows[k, x]
                    line[i] += g - w * g
                    line[i + np.uint32(1)] += w * g
                for x in range(nodes_x):
                    planes[c, z, k, x] = line[x]


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _gather_depth(planes, at_z, out):
    """Adjoint along z; one thread sums all the planes around its node, in order."""
    index, weight = at_z
    for k in prange(out.shape[1]):
        out[:, k] = np.float32(0)
        for z in range(planes.shape[1]):
            share = np.float32(0)
            if index[z] == k:
                share = np.float32(1) - weight[z]
            elif index[z] == k - 1:
                share = weight[z]
            if share > 0:
                for c in range(3):
                    for y in range(out.shape[2]):
                        for x in range(out.shape[3]):
                            out[c, k, y, x] += share * planes[c, z, y, x]
