"""What a transform does, in figures: its parts, how far it moves points, how good an inverse is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.spatial.affine import to_parameters
from deformgan.spatial.transform import Affine, DisplacementField, Transform

_CHECKED_POINTS = 20_000
_BOX_MM = 100.0  # half the edge of the box in which a transform without a field is looked at

Points = NDArray[np.float64]


def summary(transform: Transform) -> dict[str, Any]:
    """Parts in order of application, an example point and the way that points go; plain values, ready for JSON."""
    points = sample_points(transform)
    moved = transform.apply(points)
    way = np.linalg.norm(moved - points, axis=1)
    middle = points.mean(0)[None]
    return {
        "maps": "a point of the fixed image to the matching point of the moving image",
        "space": "LPS",
        "unit": "mm",
        "parts": [_field(p) if isinstance(p, DisplacementField) else _affine(p, middle[0]) for p in transform.parts],
        "example": {"fixed_point": _list(middle[0]), "moving_point": _list(transform.apply(middle)[0])},
        "displacement_mm": {"mean": float(way.mean()), "max": float(way.max())},
        "looked_at": "in a 20 cm box about the origin" if first_field(transform) is None else "at nodes of its field",
    }


def inverse_error_mm(transform: Transform, inverse: Transform) -> dict[str, float]:
    """Mean, 95th percentile and maximum, mm, of the way there and back from `sample_points`.

    Points that the transform carries off the lattice of a field do not count: no inverse on that lattice knows them.
    """
    points = sample_points(transform)
    field = first_field(transform)
    if field is not None:
        stays = _inside(_into_lattice(transform).apply(points), field.geometry)
        end = Transform((*_into_lattice(transform).parts, field)).apply(points)
        stays &= _inside(end, field.geometry)
        points = points[stays] if stays.any() else points
    error = transform.inverse_error_mm(inverse, points)
    return {"mean": float(error.mean()), "p95": float(np.percentile(error, 95)), "max": float(error.max())}


def sample_points(transform: Transform) -> Points:
    """(N, 3) LPS mm, fixed: the nodes of the first field's lattice, 20,000 at most; without a field, a 20 cm box."""
    field = first_field(transform)
    if field is None:
        axis = np.linspace(-_BOX_MM, _BOX_MM, 11)
        return np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    total = int(np.prod(field.geometry.shape))
    flat = np.linspace(0, total - 1, min(total, _CHECKED_POINTS)).astype(np.int64)
    index = np.stack(np.unravel_index(flat, field.geometry.shape)[::-1], 1)
    nodes = index @ field.geometry.matrix[:3, :3].T + field.geometry.matrix[:3, 3]
    return _into_lattice(transform).inverse().apply(nodes)


def first_field(transform: Transform) -> DisplacementField | None:
    """The field that a point meets first."""
    return next((p for p in transform.parts if isinstance(p, DisplacementField)), None)


def deformable(transform: Transform) -> Transform:
    """The fields alone, the matrices left out.  Raises InputError where there is none."""
    fields = tuple(p for p in transform.parts if isinstance(p, DisplacementField))
    if not fields:
        raise InputError("the transform has no deformable part: it is affine; leave --deformable out")
    return Transform(fields)


def _into_lattice(transform: Transform) -> Transform:
    """The matrices before the first field: from fixed space into that of its lattice."""
    before: list[Affine] = []
    for part in transform.parts:
        if isinstance(part, DisplacementField):
            break
        before.append(part)
    return Transform(tuple(before))


def _inside(points: Points, grid: Geometry) -> NDArray[np.bool_]:
    index = points @ grid.inverse[:3, :3].T + grid.inverse[:3, 3]
    within: NDArray[np.bool_] = ((index >= 0) & (index <= np.array(grid.size) - 1)).all(1)
    return within


def _affine(part: Affine, middle: Points) -> dict[str, Any]:
    matrix = part.matrix
    found: dict[str, Any] = {
        "kind": "affine",
        "matrix": matrix.tolist(),
        "translation_mm": _list(matrix[:3, 3]),
        "moves_the_middle_by_mm": _list(matrix[:3, :3] @ middle + matrix[:3, 3] - middle),
        "volume_factor": float(np.linalg.det(matrix[:3, :3])),
    }
    if found["volume_factor"] > 0:  # a reflection has no rotation angle
        p = to_parameters(matrix, np.zeros(3), "affine")
        found["rotation_degrees"] = float(np.rad2deg(np.linalg.norm(p[:3])))
        found["rotation_vector_degrees"] = _list(np.rad2deg(p[:3]))
        found["scales"] = _list(np.exp(p[6:9]))
        found["shears_xy_xz_yz"] = _list(p[9:])
    return found


def _field(part: DisplacementField) -> dict[str, Any]:
    import torch

    from deformgan.spatial.grid import displacement_to_voxels
    from deformgan.spatial.jacobian import jacobian_determinant, regularity_of

    grid = part.geometry
    length = np.linalg.norm(part.displacement, axis=-1)
    found: dict[str, Any] = {
        "kind": "displacement field",
        "lattice": {
            "size": list(grid.size),
            "spacing_mm": _list(grid.spacing),
            "origin_mm": _list(grid.origin),
            "direction": _list(grid.direction),
            "extent_mm": _list(grid.extent_mm),
        },
        "displacement_mm": {"mean": float(length.mean(dtype=np.float64)), "max": float(length.max())},
    }
    if min(grid.size) > 1:
        with torch.no_grad():
            found |= regularity_of(jacobian_determinant(displacement_to_voxels(part.displacement, grid)))
    return found


def _list(values: Any) -> list[float]:
    return [float(v) for v in values]
