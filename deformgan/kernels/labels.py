"""Labels pulled onto a grid by a Gaussian vote of the voxels around, and which values an array holds.

The vote is that of ITK's LabelImageGaussianInterpolateImageFunction as SimpleITK sets it (sitkLabelGaussian): each
voxel of the 3 x 3 x 3 around the nearest one votes for its label with the share of a Gaussian of one voxel that falls
into it; the label with the most votes wins.  One pass, whatever the number of labels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from deformgan.kernels.resample import STRAIGHT, _inside, _locate_row

Array = NDArray[Any]
Double = NDArray[np.float64]

_STEPS = 4096  # of the table of shares: linear between them, wrong by less than 1e-8
_WIDEST = 1 << 16  # a table of flags serves up to this many values
_PIECE = 1 << 20


def shares(fraction: Double) -> Double:
    """(N, 3): what a Gaussian of one voxel, at `fraction` (N,) of the voxel it lies in, has in the three around it."""
    edges = np.arange(-1.0, 3.0)[None] - np.asarray(fraction, np.float64)[:, None]
    return np.diff(np.vectorize(math.erf)(edges / math.sqrt(2)) / 2, axis=1)


_SHARES = shares(np.linspace(0, 1, _STEPS + 1))


def vote(
    moving: Array,
    matrix: Double,
    out: Array,
    *,
    field: NDArray[np.float32] | None = None,
    to_field: Double | None = None,
    turn: Double | None = None,
    outside: int = 0,
) -> None:
    """Fill `out` as `deformgan.kernels.resample.resample` does, each voxel with the label that wins the vote.

    moving, out: (Z, Y, X) of one integer type.  Voxels beyond the image do not vote; of labels with equal votes the
    one met first, x fastest, wins.
    """
    u = np.zeros((0, 0, 0, 3), np.float32) if field is None else np.ascontiguousarray(field, np.float32)
    lattice = np.eye(4) if to_field is None else np.ascontiguousarray(to_field, np.float64)
    lattice = np.where(np.abs(lattice) < STRAIGHT, 0.0, lattice)
    linear = np.eye(3) if turn is None else np.ascontiguousarray(turn, np.float64)
    bits = np.dtype(f"u{moving.itemsize}")
    value = np.array([outside]).astype(moving.dtype).view(bits)[0]
    image = np.ascontiguousarray(moving).view(bits)
    _vote(image, np.ascontiguousarray(matrix, np.float64), lattice, linear, u, value, _SHARES, out.view(bits))


def values_of(array: Array) -> Array:
    """The distinct values of an integer array, sorted; quick where they span little, as labels do."""
    flat = np.ascontiguousarray(array.view(np.uint8) if array.dtype == np.bool_ else array).reshape(-1)
    low, high = int(flat.min()), int(flat.max())
    if high - low >= _WIDEST:
        return np.unique(flat)
    found = np.zeros((-(-flat.size // _PIECE), high - low + 1), np.bool_)
    _mark(flat, flat.dtype.type(low), _PIECE, found)
    return (np.flatnonzero(found.any(0)) + low).astype(array.dtype)


@njit(inline="always", error_model="numpy", nogil=True)
def _alike(flat, nx, ny, i, j, k):
    """Whether the 3 x 3 x 3 around a voxel that is not at the border hold one label."""
    centre, same = flat[np.uint64((k * ny + j) * nx + i)], True
    for c in range(k - 1, k + 2):
        for b in range(j - 1, j + 2):
            row = np.uint64((c * ny + b) * nx + i)
            same &= (flat[row - np.uint64(1)] == centre) & (flat[row] == centre) & (flat[row + np.uint64(1)] == centre)
        if not same:
            return False
    return True


@njit(inline="always", fastmath={"contract"}, error_model="numpy", nogil=True)
def _weigh(table, fraction, weights):
    """Fill weights (3,) with the shares at `fraction`, 0 to 1."""
    place = fraction * (table.shape[0] - 1)
    low = min(np.int64(place), table.shape[0] - 2)
    rest = place - low
    for n in range(3):
        weights[n] = table[low, n] + rest * (table[low + 1, n] - table[low, n])


@njit(fastmath={"contract"}, error_model="numpy", nogil=True)
def _winner(moving, i, j, k, weights, labels, votes):
    """The label that wins around voxel i, j, k; weights (3, 3): x, y, z; labels and votes are scratch."""
    nz, ny, nx = moving.shape
    met = 0
    for c in range(max(k - 1, 0), min(k + 2, nz)):
        for b in range(max(j - 1, 0), min(j + 2, ny)):
            weight = weights[2, c - k + 1] * weights[1, b - j + 1]
            for a in range(max(i - 1, 0), min(i + 2, nx)):
                label, n = moving[c, b, a], 0
                while n < met and labels[n] != label:
                    n += 1
                if n == met:
                    labels[n], votes[n] = label, 0.0
                    met += 1
                votes[n] += weight * weights[0, a - i + 1]
    best = 0
    for n in range(1, met):
        if votes[n] > votes[best]:
            best = n
    return labels[best]


@njit(parallel=True, cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _vote(moving, matrix, to_field, turn, field, outside, table, out):
    nz, ny, nx = moving.shape
    flat = moving.reshape(-1)
    for z in prange(out.shape[0]):
        row, blend = np.empty((3, out.shape[2]), np.float64), np.empty((3, field.shape[2]), np.float64)
        weights, labels, votes = np.empty((3, 3)), np.empty(27, moving.dtype), np.empty(27)
        for y in range(out.shape[1]):
            _locate_row(matrix, to_field, turn, field, z, y, blend, row)
            for x in range(out.shape[2]):
                px, py, pz = row[0, x] + 0.5, row[1, x] + 0.5, row[2, x] + 0.5
                if not _inside(px - 0.5, py - 0.5, pz - 0.5, nx, ny, nz):
                    out[z, y, x] = outside
                    continue
                i, j, k = min(np.int64(px), nx - 1), min(np.int64(py), ny - 1), min(np.int64(pz), nz - 1)
                inner = (i > 0) & (j > 0) & (k > 0) & (i < nx - 1) & (j < ny - 1) & (k < nz - 1)
                if inner and _alike(flat, nx, ny, i, j, k):
                    out[z, y, x] = flat[np.uint64((k * ny + j) * nx + i)]
                    continue
                _weigh(table, px - i, weights[0])
                _weigh(table, py - j, weights[1])
                _weigh(table, pz - k, weights[2])
                out[z, y, x] = _winner(moving, i, j, k, weights, labels, votes)


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _mark(flat, low, piece, found):
    for p in prange(found.shape[0]):
        for n in range(p * piece, min((p + 1) * piece, flat.size)):
            found[p, flat[n] - low] = True
