"""What a transform is made of: affine matrices and displacement fields, LPS mm, from fixed point to moving point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError, OutputError
from deformgan.io.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Affine:
    """x -> M x: `matrix` (4, 4) float64, LPS mm -> LPS mm.  Raises InputError unless it can be inverted."""

    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.array_equal(matrix[3], (0, 0, 0, 1)):
            raise InputError(f"an affine must be a finite (4, 4) matrix that ends in 0 0 0 1, got {matrix.tolist()}")
        if np.linalg.matrix_rank(matrix[:3, :3]) < 3:
            raise InputError(f"the affine is singular, no inverse exists: {matrix.tolist()}")
        object.__setattr__(self, "matrix", matrix)


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """x -> x + u(x): `displacement` (Z, Y, X, 3) float32, mm, x y z LPS, on the lattice `geometry`.

    Trilinear between the nodes; within half a voxel outside the lattice the border value holds, beyond it u = 0, as in
    ITK.  Raises InputError for another shape or a value that is not finite.
    """

    geometry: Geometry
    displacement: NDArray[np.float32]

    def __post_init__(self) -> None:
        u = np.ascontiguousarray(self.displacement, dtype=np.float32)
        if u.shape != (*self.geometry.shape, 3):
            raise InputError(f"the displacement must be {(*self.geometry.shape, 3)} as its grid, got {u.shape}")
        if not np.isfinite(u).all():
            raise InputError("the displacement field has values that are not finite")
        object.__setattr__(self, "displacement", u)


Part = Affine | DisplacementField


class Writable(Protocol):
    """What can be written: `deformgan.spatial.transform.Transform`, parts in order of application."""

    @property
    def parts(self) -> Sequence[Part]: ...

    def displacement_on(self, geometry: Geometry) -> NDArray[np.float32]:
        """(Z, Y, X, 3) mm: the way of each voxel centre of `geometry`."""


def one_matrix(transform: Writable, name: str) -> NDArray[np.float64]:
    """(4, 4): the affines multiplied.  Raises OutputError for a transform with a field, naming the file type `name`."""
    matrix = np.eye(4)
    for part in transform.parts:
        if not isinstance(part, Affine):
            raise OutputError(
                f"{name} holds a matrix, and this transform has a displacement field; write .h5 or .nii.gz"
            )
        matrix = part.matrix @ matrix
    return matrix


def one_field(transform: Writable, name: str, grid: Geometry | None) -> DisplacementField:
    """The transform as one field: on `grid`; without it, on its own lattice if it is one field already.

    Raises OutputError where it is not, naming the file type `name`.
    """
    parts = transform.parts
    if len(parts) == 1 and isinstance(parts[0], DisplacementField) and grid in (None, parts[0].geometry):
        return parts[0]
    if grid is None:
        raise OutputError(
            f"{name} holds one displacement field; give the image on whose grid to sample it with --fixed"
        )
    return DisplacementField(grid, transform.displacement_on(grid))
