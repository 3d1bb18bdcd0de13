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
from deformgan.spatial.grid import index_matrix
from deformgan.spatial.transform import DisplacementField, Transform, slabs

if TYPE_CHECKING:
    from deformgan.io.volume import Volume

Interpolation = Literal["linear", "nearest", "cubic", "lanczos"]
_INTERPOLATIONS = ("linear", "nearest", "cubic", "lanczos")
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
    elsewhere the result is `outside`.  nearest: for labels, the dtype is kept, halves round up.  linear, cubic
    (B-spline) and lanczos (windowed sinc) give float32.  Raises InputError for another interpolation, or an `outside`
    that the dtype of labels cannot hold.
    """
    import torch

    if interpolation not in _INTERPOLATIONS:
        raise InputError(f"interpolation must be one of {', '.join(_INTERPOLATIONS)}, got {interpolation!r}")
    image = moving.tensor.detach().cpu().numpy()
    if interpolation in ("cubic", "lanczos"):
        pulled: Array = resample_by_library(
            image, moving.geometry, transform.parts, reference, interpolation=interpolation, outside=outside
        )
    else:
        nearest = interpolation == "nearest"
        image = image if nearest else image.astype(np.float32, copy=False)
        _check_outside(outside, image.dtype)
        pulled = _pull(image, moving.geometry, transform.merged(), reference, outside, nearest)
    return replace(moving, tensor=torch.from_numpy(pulled), geometry=reference)


def _pull(
    image: Array, geometry: Geometry, transform: Transform, reference: Geometry, outside: float, nearest: bool
) -> Array:
    """One fused pass for a chain with one field at most; by slabs through its dense displacement for a longer one."""
    out = np.empty(reference.shape, image.dtype)
    if sum(isinstance(part, DisplacementField) for part in transform.parts) <= 1:
        _pull_fused(image, geometry, transform, reference, out, outside=outside, nearest=nearest)
        return out
    for start, stop, slab in slabs(reference):
        whole = Transform((DisplacementField(slab, transform.displacement_on(slab)),))
        _pull_fused(image, geometry, whole, slab, out[start:stop], outside=outside, nearest=nearest)
    return out


def _pull_fused(
    image: Array,
    geometry: Geometry,
    transform: Transform,
    reference: Geometry,
    out: Array,
    *,
    outside: float,
    nearest: bool,
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
    matrix = index_matrix(reference, geometry, after @ before)
    if field is None:
        kernel.resample(image, matrix, out, outside=outside, nearest=nearest)
        return
    same = field.geometry == reference and np.array_equal(before, np.eye(4))
    kernel.resample(
        image,
        matrix,
        out,
        field=field.displacement,
        to_field=np.eye(4) if same else index_matrix(reference, field.geometry, before),
        turn=(geometry.inverse @ after)[:3, :3],
        outside=outside,
        nearest=nearest,
    )


def _check_outside(outside: float, dtype: np.dtype[Any]) -> None:
    if dtype.kind in "iu" and not (np.iinfo(dtype).min <= outside <= np.iinfo(dtype).max and outside == int(outside)):
        raise InputError(f"outside must be a value of {dtype}, as the labels are; got {outside}")
