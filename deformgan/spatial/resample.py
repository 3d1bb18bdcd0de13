"""Pull a moving volume onto a reference grid: the transform is composed first, the moving image sampled once.

Agrees with SimpleITK.Resample, its behaviour at borders included.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.transform_files import resample_by_library
from deformgan.kernels import resample as kernel
from deformgan.kernels.labels import vote
from deformgan.spatial.grid import index_matrix
from deformgan.spatial.transform import DisplacementField, Transform, slabs

if TYPE_CHECKING:
    from deformgan.io.volume import Volume

Interpolation = Literal["linear", "nearest", "vote", "cubic", "lanczos"]
INTERPOLATIONS = ("linear", "nearest", "vote", "cubic", "lanczos")
Array = NDArray[Any]


def resample(
    moving: Volume,
    transform: Transform,
    reference: Geometry,
    *,
    interpolation: Interpolation = "linear",
    outside: float = 0.0,
) -> Volume:
    """`moving` on the grid `reference`, whose points `transform` maps to points of `moving` (LPS mm).

    A point is inside `moving` up to half a voxel beyond the outermost voxel centres, where the border value holds;
    elsewhere the result is `outside`.  nearest: for labels, the dtype is kept, halves round up.  vote: for integer
    labels, the dtype is kept, the voxels around vote with Gaussian weights (`deformgan.kernels.labels`).  linear, cubic
    (B-spline) and lanczos (windowed sinc) give float32.  Raises InputError for another interpolation, an `outside` that
    the dtype of labels cannot hold, or a vote on fractions.
    """
    import torch

    if interpolation not in INTERPOLATIONS:
        raise InputError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    image = moving.tensor.detach().cpu().numpy()
    if interpolation == "vote" and image.dtype.kind not in "iu":
        raise InputError(f"a vote is for integer labels, this image is {image.dtype}; use nearest, or linear")
    if interpolation in ("cubic", "lanczos"):
        pulled: Array = resample_by_library(
            image, moving.geometry, transform.parts, reference, interpolation=interpolation, outside=outside
        )
    else:
        image = image.astype(np.float32, copy=False) if interpolation == "linear" else image
        _check_outside(outside, image.dtype)
        pulled = _pull(image, moving.geometry, transform.merged(), reference, outside, interpolation)
    return replace(moving, tensor=torch.from_numpy(pulled), geometry=reference)


def _pull(
    image: Array,
    geometry: Geometry,
    transform: Transform,
    reference: Geometry,
    outside: float,
    interpolation: Interpolation,
) -> Array:
    """One fused pass for a chain with one field at most; by slabs through its dense displacement for a longer one."""
    out = np.empty(reference.shape, image.dtype)
    if sum(isinstance(part, DisplacementField) for part in transform.parts) <= 1:
        _pull_fused(image, geometry, transform, reference, out, outside=outside, interpolation=interpolation)
        return out
    for start, stop, slab in slabs(reference):
        whole = Transform((DisplacementField(slab, transform.displacement_on(slab)),))
        _pull_fused(image, geometry, whole, slab, out[start:stop], outside=outside, interpolation=interpolation)
    return out


def _pull_fused(
    image: Array,
    geometry: Geometry,
    transform: Transform,
    reference: Geometry,
    out: Array,
    *,
    outside: float,
    interpolation: Interpolation,
) -> None:
    """affine B, field u, affine A, each of them optional: x -> A (B x + u(B x)) = A B x + A_3x3 u(B x)."""
    before, after, field = np.eye(4), np.eye(4), None
    for part in transform.parts:
        if isinstance(part, DisplacementField):
            field = part
        elif field is None:
            before = part.matrix @ before
        else:
            after = part.matrix @ after
    matrix, u, to_field = index_matrix(reference, geometry, after @ before), None, None
    if field is not None:
        same = field.geometry == reference and np.array_equal(before, np.eye(4))
        u, to_field = field.displacement, np.eye(4) if same else index_matrix(reference, field.geometry, before)
    turn = (geometry.inverse @ after)[:3, :3]
    if interpolation == "vote":
        vote(image, matrix, out, field=u, to_field=to_field, turn=turn, outside=int(outside))
        return
    nearest = interpolation == "nearest"
    kernel.resample(image, matrix, out, field=u, to_field=to_field, turn=turn, outside=outside, nearest=nearest)


def _check_outside(outside: float, dtype: np.dtype[Any]) -> None:
    if dtype.kind in "iu" and not (np.iinfo(dtype).min <= outside <= np.iinfo(dtype).max and outside == int(outside)):
        raise InputError(f"outside must be a value of {dtype}, as the labels are; got {outside}")
