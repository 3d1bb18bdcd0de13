"""Loss of two images under an affine map, and its derivative by the matrix: sample, differentiate, add in one pass.

Nothing of the size of an image is stored. For every voxel p (z, y, x) of the fixed image, q = M (p, 1) is read in the
moving image: its value m and its slope g. A derivative d of the loss by m adds d g (p, 1)^T to the derivative by M.
Along a row only x changes, so a row adds up d g and d g x alone. Rows are shared out in tasks that depend on the shape
only, so any number of threads gives the same bits. float32 and float64 images are computed as such; sums are float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from deformgan.kernels.warp import _locate_row, _sample_row

Real = NDArray[np.floating]
Double = NDArray[np.float64]
Loss = Literal["l2", "cauchy", "ncc"]

_CODES: dict[Loss, int] = {"l2": 0, "cauchy": 1, "ncc": 2}
_TASKS = 48  # shares of the rows
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


@dataclass(frozen=True)
class AffineSums:
    """loss: the mean over the voxels seen.  by_matrix: (3, 4), its derivative.

    curvature: (12, 12), Gauss-Newton's approximation of the second derivative by the matrix, row by row; None unless
    asked for.  share: of the fixed image's weight that was seen.
    """

    loss: float
    by_matrix: Double
    curvature: Double | None
    share: float


def affine_sums(
    fixed: Real,
    moving: Real,
    matrix: Double,
    loss: Loss,
    *,
    scale: float = 1.0,
    weight: Real | None = None,
    seen: Real | None = None,
    slopes: Real | None = None,
    curvature: bool = False,
    border: bool = False,
) -> AffineSums:
    """Both (Z, Y, X) of one dtype.  matrix: (3, 4) or (4, 4), fixed index -> moving index, z y x.

    loss: mean over the voxels seen of d^2 (l2), of log(1 + (d / scale)^2) (cauchy), d = moving - fixed; 1 - NCC (ncc).
    weight: the fixed image's shape; seen: the moving image's, its nearest voxel counts.  Voxels that fall outside the
    moving image count nothing, or, with `border`, read its border.
    slopes: (3, Z, Y, X), z y x, slopes of the moving image per voxel to be used in place of the interpolant's own.
    """
    real = np.promote_types(fixed.dtype, np.float32)
    images = as_real(real, fixed, moving, weight, seen)
    bounds = row_bounds(fixed)
    tasks = len(bounds) - 1
    scalars, firsts, seconds = np.zeros((tasks, 8)), np.zeros((tasks, 3, 3, 4)), np.zeros((tasks, 6, 10))
    pose = np.ascontiguousarray(matrix, np.float64)[:3]
    _sums(*images, slopes_as_real(real, slopes), pose, _CODES[loss], real.type(scale), curvature, border, bounds,
          scalars, firsts, seconds)  # fmt: skip
    total, first = scalars.sum(0), firsts.sum(0)
    whole = float(fixed.size if weight is None else np.sum(images[2], dtype=np.float64))
    share = float(total[0] / whole) if whole > 0 else 0.0
    if total[0] <= 0:
        return AffineSums(0.0, np.zeros((3, 4)), np.zeros((12, 12)) if curvature else None, 0.0)
    if loss == "ncc":
        return AffineSums(*_correlation(total, first), None, share)
    full = _spread(seconds.sum(0) / total[0]) if curvature else None
    return AffineSums(float(total[1] / total[0]), first[0] / total[0], full, share)


def as_real(dtype: np.dtype[Any], *images: Real | None) -> list[Real]:
    """Arrays as the kernels on rows take them; an empty one for none."""
    none = np.empty((0, 0, 0), dtype)
    return [none if image is None else np.ascontiguousarray(image, dtype) for image in images]


def slopes_as_real(dtype: np.dtype[Any], slopes: Real | None) -> Real:
    """The same of slopes (3, Z, Y, X)."""
    return np.empty((3, 0, 0, 0), dtype) if slopes is None else np.ascontiguousarray(slopes, dtype)


def row_bounds(fixed: Real) -> NDArray[np.int64]:
    """Where each task's share of the rows of (Z, Y, X) begins, and the last one's end."""
    rows = fixed.shape[0] * fixed.shape[1]
    tasks = min(_TASKS, rows)
    return np.arange(tasks + 1) * rows // tasks


def _correlation(total: Double, first: Double) -> tuple[float, Double]:
    """1 - NCC and its derivative, from n, m, f, mm, ff, mf and the derivatives weighted by 1, m and f."""
    n, m, f, mm, ff, mf = total[[0, 2, 3, 4, 5, 6]]
    var_m, var_f, cross = mm - m * m / n, ff - f * f / n, mf - m * f / n
    if min(var_m / max(mm, 1e-30), var_f / max(ff, 1e-30)) < 1e-12:
        return 1.0, np.zeros((3, 4))
    root = 1 / np.sqrt(var_m * var_f)
    rho = float(cross * root)
    by_f, by_m = root, -rho / var_m  # d rho / d m_v = by_f (f_v - mean f) + by_m (m_v - mean m)
    return 1 - rho, -(by_f * first[2] + by_m * first[1] - (by_f * f / n + by_m * m / n) * first[0])


def _spread(seconds: Double) -> Double:
    """(6, 10) sums of g_i g_j x_a x_b, i <= j, a <= b -> (12, 12) by the row-major matrix."""
    points = [(a, b) for a in range(4) for b in range(a, 4)]
    full = np.zeros((3, 4, 3, 4))
    for k, (i, j) in enumerate(_PAIRS):
        for n, (a, b) in enumerate(points):
            full[i, a, j, b] = full[i, b, j, a] = full[j, a, i, b] = full[j, b, i, a] = seconds[k, n]
    return full.reshape(12, 12)


@njit(inline="always", error_model="numpy", nogil=True)
def _cauchy_row(f, m, here, square):
    """Sum of here * log(1 + (m - f)^2 / square); the logarithm is dear, so eight voxels that count fully share one."""
    value, product = 0.0, 1.0
    for x in range(len(m)):
        r, w = m[x] - f[x], here[x]
        if w == 1:
            product *= 1.0 + float(r * r / square)
        elif w > 0:
            value += w * np.log1p(r * r / square)
        if x % 8 == 7:
            value += np.log(product)
            product = 1.0
    return value + np.log(product)


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _derivative_row(code, f, m, here, scale, total, d, c):
    """Add a row's values to `total`; fill d, the derivative of each by m, and c, its curvature (l2 and cauchy)."""
    real = m.dtype.type
    two = real(2)
    count, value = real(0), real(0)
    if code == 0:
        for x in range(len(m)):
            r, w = m[x] - f[x], here[x]
            count += w
            value += w * r * r
            d[x], c[x] = two * w * r, two * w
    else:
        square = scale * scale
        for x in range(len(m)):
            r, w = m[x] - f[x], here[x]
            count += w
            c[x] = two * w / (square + r * r)
            d[x] = c[x] * r
        value = _cauchy_row(f, m, here, square)
    total[0] += count
    total[1] += value


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _moment_row(f, m, here, total):
    """Add a row's n, m, f, mm, ff, mf to `total`."""
    real = m.dtype.type
    n, sm, sf, mm, ff, mf = real(0), real(0), real(0), real(0), real(0), real(0)
    for x in range(len(m)):
        w = here[x]
        wm, wf = w * m[x], w * f[x]
        n += w
        sm += wm
        sf += wf
        mm += wm * m[x]
        ff += wf * f[x]
        mf += wm * f[x]
    total[0] += n
    total[2] += sm
    total[3] += sf
    total[4] += mm
    total[5] += ff
    total[6] += mf


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def add_row(d, g, z, y, first):
    """first (3, 4) += sum over the row of d g (z, y, x, 1)."""
    real = d.dtype.type
    for i in range(3):
        level, tilt, row = real(0), real(0), g[i]
        for x in range(len(d)):
            a = d[x] * row[x]
            level += a
            tilt += a * real(x)
        first[i, 0] += level * z
        first[i, 1] += level * y
        first[i, 2] += tilt
        first[i, 3] += level


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def _add_curvature(c, g, z, y, second):
    """second (6, 10) += sum over the row of c g_i g_j times the products of (z, y, x, 1)."""
    real = c.dtype.type
    k = 0
    for i in range(3):
        for j in range(i, 3):
            s0, s1, s2 = real(0), real(0), real(0)
            for x in range(len(c)):
                a, t = c[x] * g[i, x] * g[j, x], real(x)
                s0 += a
                s1 += a * t
                s2 += a * t * t
            add = second[k]
            add[0] += s0 * z * z
            add[1] += s0 * z * y
            add[2] += s1 * z
            add[3] += s0 * z
            add[4] += s0 * y * y
            add[5] += s1 * y
            add[6] += s0 * y
            add[7] += s2
            add[8] += s1
            add[9] += s0
            k += 1


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def counted_row(z, y, matrix, slope, still, size, border, weight, known, start, cell, step, corner, within, here):
    """Find the image cells of a row, and in `here` how much each voxel counts; whether any may."""
    real = here.dtype.type
    for i in range(3):
        start[i] = matrix[i, 0] * z + matrix[i, 1] * y + matrix[i, 3]
    _locate_row(len(here), start, slope, still, size, cell, step, corner, within)
    any_within = False
    for x in range(len(here)):
        here[x] = real(1) if within[x] or border else real(0)
        any_within = any_within or within[x] or border
    if weight.shape[0] > 0:
        for x in range(len(here)):
            here[x] *= weight[z, y, x]
    if known.shape[0] > 0:
        half = real(0.5)
        for x in range(len(here)):
            at = cell[x]
            for i in range(3):
                at += step[i, x] if corner[i, x] >= half else 0
            here[x] *= known[at]
    return any_within


@njit(inline="always", fastmath=True, error_model="numpy", nogil=True)
def sloped_row(flat, slopes, cell, step, corner, within, border, same, none, value, g):
    """Sample a row that `counted_row` found, and in g its slopes: those given, else the interpolant's own."""
    zero = value.dtype.type(0)
    if slopes.shape[1] > 0:
        _sample_row(flat, cell, step, corner, within, border, zero, same, value, none)
        for i in range(3):
            _sample_row(slopes[i].ravel(), cell, step, corner, within, border, zero, same, g[i], none)
    else:
        _sample_row(flat, cell, step, corner, within, border, zero, same, value, g)


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _sums(fixed, moving, weight, seen, slopes, matrix, code, scale, curved, border, bounds, scalars,
          firsts, seconds):  # fmt: skip
    width, height = fixed.shape[2], fixed.shape[1]
    flat, known = moving.ravel(), seen.ravel()
    slope, same = matrix[:, :3].astype(fixed.dtype), np.eye(3).astype(fixed.dtype)
    for t in prange(len(bounds) - 1):
        still, none = np.zeros((3, width), fixed.dtype), np.zeros((3, 0), fixed.dtype)
        cell, step = np.empty(width, np.int32), np.empty((3, width), np.int32)
        corner, within = np.empty((3, width), fixed.dtype), np.empty(width, np.bool_)
        start, value, here = np.empty(3, fixed.dtype), np.empty(width, fixed.dtype), np.empty(width, fixed.dtype)
        g, d, c = np.empty((3, width), fixed.dtype), np.empty(width, fixed.dtype), np.empty(width, fixed.dtype)
        total, first, second = scalars[t], firsts[t], seconds[t]
        for r in range(bounds[t], bounds[t + 1]):
            z, y = r // height, r % height
            if not counted_row(z, y, matrix, slope, still, moving.shape, border, weight, known, start, cell, step,
                                corner, within, here):  # fmt: skip
                continue
            sloped_row(flat, slopes, cell, step, corner, within, border, same, none, value, g)
            f = fixed[z, y]
            if code == 2:
                _moment_row(f, value, here, total)
                add_row(here, g, z, y, first[0])
                for x in range(width):
                    d[x] = here[x] * value[x]
                    c[x] = here[x] * f[x]
                add_row(d, g, z, y, first[1])
                add_row(c, g, z, y, first[2])
                continue
            _derivative_row(code, f, value, here, scale, total, d, c)
            add_row(d, g, z, y, first[0])
            if curved:
                _add_curvature(c, g, z, y, second)
