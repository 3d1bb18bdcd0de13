"""B-spline displacements of ITK, elastix and NiftyReg, sampled onto a lattice fine enough for trilinear use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.transforms.parts import DisplacementField

TOLERANCE_MM = 0.01
MOST_MM = 1e6  # of a displacement
MOST_NODES = 1 << 24  # 200 MB of displacements


def sampled_spline(
    coefficients: NDArray[np.floating], lattice: Geometry, *, order: int = 3, tolerance_mm: float = TOLERANCE_MM
) -> DisplacementField:
    """The field with u(x) = sum over nodes i of c_i beta(index(x) - i), beta the B-spline of `order` 1 to 3.

    coefficients: (Z, Y, X, 3), mm, x y z LPS, on `lattice`.  The field covers where the spline has its full support; as
    in ITK, u = 0 beyond.  At its nodes it is exact, but for float32; between them trilinear interpolation is wrong by
    at most sum_a D_a / (8 k_a^2), with k_a samples a node along axis a and D_a the largest second difference of the
    coefficients.  k_a makes that bound `tolerance_mm`, unless it took more than MOST_NODES nodes; the error found on
    random splines is a quarter of the bound.  Raises InputError for too few nodes or another order.
    """
    u: NDArray[np.float64] = np.asarray(coefficients, np.float64)
    if order not in (1, 2, 3) or min(lattice.size) <= order:
        raise InputError(f"a B-spline of order {order} on {lattice.size} nodes is not supported; order 1 to 3 is")
    if not (np.abs(u) < MOST_MM).all():  # nor NaN
        raise InputError(f"the B-spline has coefficients that are not finite, or of {MOST_MM:g} mm and more")
    counts = _samples_a_node(u, order, tolerance_mm)
    for axis, (nodes, count) in enumerate(zip(lattice.shape, counts, strict=True)):
        weights = _weights(nodes, count, order)
        u = np.moveaxis(np.tensordot(weights, u, axes=(1, axis)).astype(np.float64), 0, axis)
    step = np.eye(4)
    step[:3, :3] /= np.array(counts[::-1])
    step[:3, 3] = (order - 1) / 2
    return DisplacementField(Geometry.from_matrix(lattice.matrix @ step, u.shape[2::-1]), u.astype(np.float32))


def _samples_a_node(coefficients: NDArray[np.float64], order: int, tolerance_mm: float) -> list[int]:
    """Along z, y, x."""
    if order == 1:
        return [1, 1, 1]
    bends = [np.linalg.norm(np.diff(coefficients, 2, axis=a), axis=-1).max() for a in range(3)]
    wanted = np.maximum(np.sqrt([3 * bend / (8 * tolerance_mm) for bend in bends]), 1)
    intervals = np.array(coefficients.shape[:3]) - order
    excess = float(np.prod(intervals * np.ceil(wanted)) / MOST_NODES)
    if excess > 1:
        wanted = np.maximum(np.floor(wanted / np.cbrt(excess)), 1)
    while np.prod(intervals * np.ceil(wanted)) > MOST_NODES and wanted.max() > 1:  # where one axis bends far more
        wanted[wanted.argmax()] /= 2
        wanted = np.maximum(wanted, 1)
    return [int(w) for w in np.ceil(wanted)]


def _weights(nodes: int, count: int, order: int) -> NDArray[np.float64]:
    """(samples, nodes): beta at each sample, `count` of them a node, over the range of full support."""
    from scipy.interpolate import BSpline

    half = (order + 1) / 2
    beta = BSpline.basis_element(np.arange(order + 2) - half, extrapolate=False)
    place = (order - 1) / 2 + np.arange((nodes - order) * count + 1) / count
    weights: NDArray[np.float64] = np.nan_to_num(beta(place[:, None] - np.arange(nodes)))
    return weights
