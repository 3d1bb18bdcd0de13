"""Transform: a chain of affine matrices and displacement fields that maps fixed points to moving points, LPS mm.

A displacement field is trilinear on its lattice; within half a voxel outside the lattice its border value holds, beyond
it u = 0, exactly as in ITK.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.transform_files import Affine, DisplacementField, Part, read_transform, write_transform
from deformgan.kernels.resample import dense_displacement, displace
from deformgan.spatial.grid import displacement_to_mm, displacement_to_voxels, index_matrix, voxel_points

__all__ = ["Affine", "DisplacementField", "Transform"]

Points = NDArray[np.float64]

_POINTS_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class Transform:
    """fixed point -> moving point, both LPS mm; `parts` are applied first to last, none is the identity.

    `b @ a` applies a first, `~a` is the inverse, `apply` moves points; `deformgan.warp` brings images along.

    >>> import numpy as np
    >>> from deformgan import Transform
    >>> from deformgan.spatial.transform import Affine
    >>> turn, shift = np.diag([-1.0, -1.0, 1.0, 1.0]), np.eye(4)       # half a turn about z; 10 mm to the left
    >>> shift[0, 3] = 10.0
    >>> turn_first = Transform((Affine(shift),)) @ Transform((Affine(turn),))
    >>> turn_first.apply([[3.0, 0.0, 0.0]]).tolist()
    [[7.0, 0.0, 0.0]]
    >>> (~turn_first).apply([[7.0, 0.0, 0.0]]).round(6).tolist()
    [[3.0, 0.0, 0.0]]
    """

    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        parts = tuple(self.parts)
        if wrong := [type(p).__name__ for p in parts if not isinstance(p, Affine | DisplacementField)]:
            raise InputError(f"the parts of a transform are Affine or DisplacementField, got {', '.join(wrong)}")
        object.__setattr__(self, "parts", parts)

    @classmethod
    def identity(cls) -> Transform:
        """The transform that leaves every point where it is."""
        return cls()

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, format: str | None = None, fixed: Any = None, moving: Any = None
    ) -> Transform:
        """Read a transform file of ITK or of another tool; see `deformgan.io.transform_files.read_transform`."""
        return cls(read_transform(path, format=format, fixed=fixed, moving=moving))

    def save(
        self, path: str | os.PathLike[str], *, format: str | None = None, fixed: Any = None, moving: Any = None
    ) -> None:
        """Write for ITK, best as .h5, or for another tool; see `deformgan.io.transform_files.write_transform`."""
        write_transform(self, path, format=format, fixed=fixed, moving=moving)

    def __matmul__(self, first: Transform) -> Transform:
        """The transform that applies `first` and then this one."""
        return Transform((*first.parts, *self.parts))

    def __invert__(self) -> Transform:
        """~t is t.inverse()."""
        return self.inverse()

    def apply(self, points: NDArray[np.floating]) -> Points:
        """points (N, 3) LPS mm, x y z -> (N, 3) float64 LPS mm."""
        moved = np.array(points, dtype=np.float64)
        if moved.ndim != 2 or moved.shape[1] != 3:
            raise InputError(f"points must be (N, 3), x y z in mm, got {moved.shape}")
        for part in self.parts:
            if isinstance(part, Affine):
                moved = moved @ part.matrix[:3, :3].T + part.matrix[:3, 3]
            else:
                moved = displace(moved, part.displacement, part.geometry.inverse)
        return moved

    def inverse(self, tolerance_mm: float = 0.01) -> Transform:
        """moving point -> fixed point: affines exactly, fields by fixed point on their own lattice.

        tolerance_mm: the iteration of a field stops where inverse and field compose to less than this.  A field that
        folds has no inverse; `inverse_error_mm` tells how good the result is.
        """
        return Transform(tuple(_inverted(part, tolerance_mm) for part in reversed(self.parts)))

    def inverse_error_mm(self, inverse: Transform, points: NDArray[np.floating]) -> Points:
        """(N,) mm: how far from points (N, 3) the way through this transform and back through `inverse` ends."""
        distance: Points = np.linalg.norm(inverse.apply(self.apply(points)) - points, axis=1)
        return distance

    def displacement_on(self, geometry: Geometry) -> NDArray[np.float32]:
        """(Z, Y, X, 3) float32, mm, x y z LPS: where this transform moves each voxel centre of `geometry`."""
        out = np.empty((*geometry.shape, 3), np.float32)
        self._fill(out, geometry, np.eye(3))
        return out

    def voxel_displacement_on(self, geometry: Geometry) -> NDArray[np.float32]:
        """(3, Z, Y, X) float32: the same in voxels of `geometry`, components z, y, x."""
        out = np.empty((3, *geometry.shape), np.float32)
        self._fill(out.transpose(1, 2, 3, 0), geometry, geometry.inverse[2::-1, :3])
        return out

    def _fill(self, out: NDArray[np.float32], geometry: Geometry, turn: NDArray[np.float64]) -> None:
        """out (Z, Y, X, 3) = turn (3, 3) times the way of each voxel centre of `geometry`, mm."""
        if len(self.parts) == 1 and isinstance(part := self.parts[0], DisplacementField):
            dense_displacement(part.displacement, index_matrix(geometry, part.geometry), turn, out)
            return
        for start, stop, slab in slabs(geometry):
            points = voxel_points(slab).reshape(-1, 3)
            out[start:stop] = ((self.apply(points) - points) @ turn.T).reshape(out[start:stop].shape)

    def flattened(self, geometry: Geometry) -> Transform:
        """The same map at the voxel centres of `geometry`, as one displacement field; trilinear between, 0 beyond."""
        return Transform((DisplacementField(geometry, self.displacement_on(geometry)),))

    def merged(self) -> Transform:
        """The same map with neighbouring affines multiplied into one."""
        parts: list[Part] = []
        for part in self.parts:
            if isinstance(part, Affine) and parts and isinstance(parts[-1], Affine):
                parts[-1] = Affine(part.matrix @ parts[-1].matrix)
            else:
                parts.append(part)
        return Transform(tuple(parts))


def slabs(geometry: Geometry) -> Sequence[tuple[int, int, Geometry]]:
    """First plane, plane after the last, and grid of slabs along z that together fill `geometry`."""
    depth, (nx, ny, _) = geometry.size[2], geometry.size
    step = max(1, _POINTS_AT_ONCE // (nx * ny))
    ranges = [(start, min(start + step, depth)) for start in range(0, depth, step)]
    origins = [geometry.matrix[:3] @ (0.0, 0.0, float(start), 1.0) for start, _ in ranges]
    return [
        (start, stop, replace(geometry, size=(nx, ny, stop - start), origin=tuple(origin)))
        for (start, stop), origin in zip(ranges, origins, strict=True)
    ]


def _inverted(part: Part, tolerance_mm: float) -> Part:
    if isinstance(part, Affine):
        inverse: NDArray[np.float64] = np.linalg.inv(part.matrix).astype(np.float64)
        inverse[3] = 0, 0, 0, 1
        return Affine(inverse)
    from deformgan.spatial.field import invert  # brings torch, which affine chains do without

    grid = part.geometry
    tolerance = tolerance_mm / float(np.linalg.norm(grid.matrix[:3, :3], 2))
    found, _ = invert(displacement_to_voxels(part.displacement, grid), tolerance=tolerance)
    return DisplacementField(grid, displacement_to_mm(found, grid))
