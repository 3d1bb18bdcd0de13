"""Where a voxel grid lies in the world: size, spacing, origin and direction, LPS mm, x y z as in ITK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deformgan.errors import InputError


@dataclass(frozen=True)
class Geometry:
    """A voxel grid in LPS mm.

    `size` (voxels), `spacing` (mm) and `origin` (mm, centre of the first voxel) are x, y, z; `direction` holds the nine
    cosines row by row, as ITK does: column k is the direction in which index k grows. Raises InputError for a grid
    that is empty, not finite or singular.

    >>> from deformgan import Geometry
    >>> grid = Geometry((64, 48, 40), spacing=(1.0, 1.0, 2.5), origin=(-31.5, -23.5, -50.0))
    >>> grid.shape                                        # z, y, x: of the tensor that fills it
    (40, 48, 64)
    >>> (grid.matrix @ [63, 47, 39, 1])[:3].tolist()      # the last voxel's centre, LPS mm
    [31.5, 23.5, 47.5]
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(int(n) for n in self.size))
        for name in ("spacing", "origin", "direction"):
            object.__setattr__(self, name, tuple(float(v) for v in np.ravel(getattr(self, name))))
        if len(self.size) != 3 or min(self.size) < 1:
            raise InputError(f"grid size must be three positive numbers, got {self.size}")
        numbers = np.array([*self.spacing, *self.origin, *self.direction])
        if numbers.size != 15 or not np.isfinite(numbers).all():
            raise InputError("the grid's spacing, origin and direction must be finite; repair the header")
        if min(self.spacing) <= 0:
            raise InputError(f"grid spacing must be positive, got {self.spacing} mm")
        if abs(np.linalg.det(self._cosines)) < 1e-6:
            raise InputError("the grid's direction is singular: two axes point the same way; repair the header")

    @property
    def _cosines(self) -> np.ndarray:
        return np.array(self.direction).reshape(3, 3)

    @property
    def shape(self) -> tuple[int, int, int]:
        """z, y, x: the shape of the tensor that fills this grid."""
        return self.size[2], self.size[1], self.size[0]

    @property
    def matrix(self) -> np.ndarray:
        """(4, 4) float64: index (i, j, k) along x, y, z -> LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self._cosines * np.array(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def inverse(self) -> np.ndarray:
        """(4, 4) float64: LPS mm -> index (i, j, k)."""
        return np.linalg.inv(self.matrix)

    @property
    def centre(self) -> np.ndarray:
        """(3,) LPS mm of the middle of the grid."""
        return (self.matrix @ np.append((np.array(self.size) - 1) / 2, 1.0))[:3]

    @property
    def extent_mm(self) -> np.ndarray:
        """(3,) mm: size times spacing along x, y, z of the grid."""
        return np.array(self.size) * np.array(self.spacing)

    @property
    def corners(self) -> np.ndarray:
        """(8, 3) LPS mm of the centres of the corner voxels."""
        index = np.stack(np.meshgrid(*[(0, n - 1) for n in self.size], indexing="ij"), -1).reshape(-1, 3)
        return index @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    @classmethod
    def from_matrix(cls, matrix: np.ndarray, size: Sequence[int]) -> Geometry:
        """The grid whose index (i, j, k) -> LPS mm is `matrix` (4, 4); columns give spacing and direction."""
        matrix = np.asarray(matrix, dtype=np.float64)
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        if not np.isfinite(matrix).all() or spacing.min() <= 0:
            raise InputError("the grid's matrix must be finite and without a zero column; repair the header")
        cosines = (matrix[:3, :3] / spacing).ravel()
        return cls(_three(size), _three(spacing), _three(matrix[:3, 3]), tuple(cosines))

    def resized(self, size: Sequence[int]) -> Geometry:
        """The same field of view with another number of voxels (edges kept, not the corner voxels' centres)."""
        ratio = np.array(self.size) / np.array(size)
        step = np.eye(4)
        step[:3, :3] = np.diag(ratio)
        step[:3, 3] = (ratio - 1) / 2
        return Geometry.from_matrix(self.matrix @ step, [int(n) for n in size])

    def padded(self, voxels: int | tuple[int, int, int]) -> Geometry:
        """The same grid with `voxels` (one number, or x, y, z) more on either side."""
        pad = np.broadcast_to(np.asarray(voxels), 3)
        matrix = self.matrix
        matrix[:3, 3] -= matrix[:3, :3] @ pad
        return Geometry.from_matrix(matrix, tuple(int(n + 2 * p) for n, p in zip(self.size, pad, strict=True)))

    def almost_equal(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """Same size, and every corner at the same place within `tolerance_mm`."""
        return self.size == other.size and bool(np.abs(self.corners - other.corners).max() <= tolerance_mm)


def _three(values: Any) -> Any:
    """The three values as a tuple; another number of them is an InputError."""
    if len(values) != 3:
        raise InputError(f"a grid has three axes, got {len(values)} values: {values}")
    return tuple(values)
