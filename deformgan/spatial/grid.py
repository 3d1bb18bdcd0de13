"""The only file of coordinates: voxel index, world (LPS mm) and torch's sampling cube, and the order of axes.

Inside, displacements are (B, 3, Z, Y, X), components z, y, x, in voxels of their grid; in files and results they are
(Z, Y, X, 3), components x, y, z, LPS mm. The cube of `grid_sample` is used with align_corners=False.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from deformgan.io.geometry import Geometry

REVERSE = np.eye(4)[[2, 1, 0, 3]]


def reversed_axes(matrix: np.ndarray) -> np.ndarray:
    """A (4, 4) map between x, y, z indices as the same map between z, y, x indices, and back."""
    return REVERSE @ matrix @ REVERSE


def index_matrix(source: Geometry, target: Geometry, world: np.ndarray | None = None) -> np.ndarray:
    """(4, 4): index x, y, z of grid `source` -> index x, y, z of `target`, by way of `world` (LPS mm -> LPS mm)."""
    return target.inverse @ (np.eye(4) if world is None else world) @ source.matrix


def voxel_points(geometry: Geometry) -> np.ndarray:
    """(Z, Y, X, 3) float64 LPS mm of the voxel centres."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape], indexing="ij")[::-1], -1)
    return index @ geometry.matrix[:3, :3].T + geometry.matrix[:3, 3]


def displacement_to_mm(displacement: torch.Tensor, geometry: Geometry) -> np.ndarray:
    """(1, 3, Z, Y, X) z y x voxels of `geometry` -> (Z, Y, X, 3) float32, x y z, LPS mm."""
    axes = geometry.matrix[:3, :3].astype(np.float32)
    voxels = displacement[0].detach().cpu().numpy()[::-1]
    return np.ascontiguousarray(np.tensordot(axes, voxels, axes=1).transpose(1, 2, 3, 0), dtype=np.float32)


def displacement_to_voxels(displacement: np.ndarray, geometry: Geometry) -> torch.Tensor:
    """(Z, Y, X, 3) x y z LPS mm -> (1, 3, Z, Y, X) float32, z y x voxels of `geometry`."""
    import torch

    axes = geometry.inverse[:3, :3].astype(np.float32)
    voxels = np.tensordot(axes, displacement.transpose(3, 0, 1, 2), axes=1)[::-1]
    return torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32))[None]


def sampling_grid(points: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Voxel positions (B, d, *grid), z y x, in an image of `shape` -> (B, *grid, d) in [-1, 1], x first."""
    size = points.new_tensor(tuple(shape)).view(1, -1, *[1] * (points.ndim - 2))
    return ((2 * points + 1) / size - 1).flip(1).movedim(1, -1)
