"""Images of vectors and symmetric tensors: pulled component by component, then turned as the anatomy turns.

A transform x -> y takes fixed points to moving points and has the Jacobian J; what is tied to the moving tissue turns
by F = J^-1 on its way to the fixed image.  Sources: Alexander et al. 2001 (finite strain: the rotation of F's polar
decomposition; preservation of principal direction).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.volume import RAS_LPS, Volume
from deformgan.spatial.resample import Interpolation, resample
from deformgan.spatial.transform import Affine, DisplacementField, Transform

Reorient = Literal["rotation", "ppd", "jacobian", "none"]
Frame = Literal["lps", "ras", "voxel"]
Array = NDArray[Any]

REORIENT, FRAMES = get_args(Reorient), get_args(Frame)
_ROWS, _COLUMNS = [0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]  # xx xy yy xz yz zz
_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Components:
    """`values` (3 or 6, Z, Y, X) float32 on `geometry`; six are xx xy yy xz yz zz of a symmetric tensor."""

    values: NDArray[np.float32]
    geometry: Geometry


def warp_components(
    moving: Components,
    transform: Transform,
    reference: Geometry,
    *,
    reorient: Reorient = "rotation",
    frame: Frame = "lps",
    interpolation: Interpolation = "linear",
) -> tuple[Components, tuple[str, ...]]:
    """(vectors or tensors on the grid `reference`, notes); 0 outside the image.

    reorient: rotation (finite strain: lengths and eigenvalues are kept), ppd (the principal direction, and then the
    plane of the first two, follow F exactly; lengths and eigenvalues are kept), jacobian (F v, F D F^T: lengths change
    as the tissue's) or none (components as they are).  frame: the axes in which components are meant: lps, ras, or
    voxel, along the axes of the image's own grid and, in the result, of the reference.  Where the map folds
    (det J <= 0) nothing is turned, and a note says where that happened.  Raises InputError.
    """
    if reorient not in REORIENT or frame not in FRAMES:
        raise InputError(
            f"reorient must be one of {', '.join(REORIENT)} and frame one of {', '.join(FRAMES)}; "
            f"got {reorient!r}, {frame!r}"
        )
    pulled = _pulled(moving, transform, reference, interpolation)
    if reorient == "none":
        return Components(pulled, reference), ()
    into, out_of = _axes(moving.geometry, frame), _axes(reference, frame).T
    flat, folded = pulled.reshape(len(pulled), -1), 0
    chosen = np.flatnonzero(flat.any(axis=0))
    for start in range(0, len(chosen), _AT_ONCE):
        some = chosen[start : start + _AT_ONCE]
        index = np.stack(np.unravel_index(some, reference.shape)[::-1], -1)
        slope = jacobians(transform, index @ reference.matrix[:3, :3].T + reference.matrix[:3, 3])
        bad = np.linalg.det(slope) <= 0
        folded += int(np.broadcast_to(bad, some.shape).sum())
        slope[bad] = np.eye(3)
        turn = _turn_vectors if len(flat) == 3 else _turn_tensors
        flat[:, some] = turn(flat[:, some].T.astype(np.float64), slope, reorient, into, out_of).T
    notes = (f"the transform folds at {folded} voxels with a value; nothing was turned there",) if folded else ()
    return Components(pulled, reference), notes


def jacobians(transform: Transform, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3, 3): how the map changes at points (N, 3), row: component, column: direction; (1, 3, 3) if it is affine.

    Central differences over just less than a voxel of the finest field.
    """
    fields = [part for part in transform.parts if isinstance(part, DisplacementField)]
    if not fields:
        matrix = np.eye(3)
        for part in transform.parts:
            if isinstance(part, Affine):
                matrix = part.matrix[:3, :3] @ matrix
        return matrix[None].copy()
    # Less than half a voxel: beyond that outside its lattice the field ends in a step.
    reach = 0.49 * min(min(field.geometry.spacing) for field in fields)
    ways = [transform.apply(points + side) - transform.apply(points - side) for side in reach * np.eye(3)]
    return np.stack(ways, -1) / (2 * reach)


def _pulled(moving: Components, transform: Transform, reference: Geometry, interpolation: Interpolation) -> Array:
    import torch

    out = np.empty((len(moving.values), *reference.shape), np.float32)
    for number, values in enumerate(moving.values):
        volume = Volume(torch.from_numpy(np.ascontiguousarray(values, np.float32)), moving.geometry)
        out[number] = resample(volume, transform, reference, interpolation=interpolation).numpy()
    return out


def _axes(geometry: Geometry, frame: Frame) -> NDArray[np.float64]:
    """(3, 3): components in the frame -> components in LPS."""
    if frame == "voxel":
        return np.array(geometry.direction).reshape(3, 3)
    return np.eye(3) if frame == "lps" else RAS_LPS[:3, :3]


def _rotation(slope: Array) -> Array:
    """The rotation of F = J^-1: the transpose of that of J."""
    left, _, right = np.linalg.svd(slope)
    return (left @ right).swapaxes(-1, -2)


def _unit(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def _turn_vectors(values: Array, slope: Array, reorient: Reorient, into: Array, out_of: Array) -> Array:
    """values (N, 3), slope (N or 1, 3, 3): the vectors on the fixed side."""
    values = values @ into.T
    turn = _rotation(slope) if reorient == "rotation" else np.linalg.inv(slope)
    turned = (turn @ values[..., None])[..., 0]
    if reorient == "ppd":
        turned = _unit(turned) * np.linalg.norm(values, axis=-1, keepdims=True)
    return turned @ out_of.T


def _turn_tensors(values: Array, slope: Array, reorient: Reorient, into: Array, out_of: Array) -> Array:
    """values (N, 6), slope (N or 1, 3, 3): the tensors on the fixed side."""
    tensors = np.empty((len(values), 3, 3))
    tensors[:, _ROWS, _COLUMNS] = values
    tensors[:, _COLUMNS, _ROWS] = values
    tensors = into @ tensors @ into.T
    if reorient == "ppd":
        turned = _principal_kept(tensors, np.linalg.inv(slope))
    else:
        turn = _rotation(slope) if reorient == "rotation" else np.linalg.inv(slope)
        turned = turn @ tensors @ turn.swapaxes(-1, -2)
    return (out_of @ turned @ out_of.T)[:, _ROWS, _COLUMNS]


def _principal_kept(tensors: Array, forward: Array) -> Array:
    """The eigenvalues on new axes: F e1; F e2 made perpendicular to it; and the third."""
    sizes, axes = np.linalg.eigh(tensors)  # rising
    first = _unit((forward @ axes[..., 2:])[..., 0])
    second = (forward @ axes[..., 1:2])[..., 0]
    second = _unit(second - first * (first * second).sum(-1, keepdims=True))
    frame = np.stack([np.cross(first, second), second, first], -1)
    return (frame * sizes[:, None, :]) @ frame.swapaxes(-1, -2)
