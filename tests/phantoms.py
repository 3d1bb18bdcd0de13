"""Planted problems with exact answers: a head-like phantom in two contrasts, and known motions."""

import numpy as np
import torch
from scipy import ndimage

from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.spatial.affine import from_parameters
from deformgan.spatial.grid import voxel_points

GRID = Geometry((56, 60, 52), (3.0, 3.0, 3.5), (-82.0, -88.0, -90.0))


def centred(size: tuple[int, int, int], spacing: tuple[float, float, float], direction: np.ndarray) -> Geometry:
    """A grid whose middle lies near the phantom's."""
    step = direction * np.array(spacing)
    origin = np.array([3.0, -4.0, 2.0]) - step @ ((np.array(size) - 1) / 2)
    return Geometry(size, spacing, tuple(origin), tuple(np.ravel(direction)))


TILT = np.linalg.qr(np.array([[1.0, 0.25, -0.15], [0.2, -0.3, 1.0], [-0.1, 1.0, 0.3]]))[0] * [-1, -1, -1]
OBLIQUE = centred((58, 44, 62), (2.8, 4.0, 2.9), TILT)


def tissue(points: np.ndarray) -> np.ndarray:
    """(..., 3) LPS mm -> whole-number tissue: 0 air, 1 skin, 2 bone, 3 grey, 4 white, 5 fluid, without any symmetry."""
    x, y, z = (points / [62, 74, 66]).transpose(3, 0, 1, 2)
    radius = np.sqrt(x**2 + y**2 + z**2) * (1 + 0.06 * np.sin(3 * np.arctan2(y, x) + 2 * z))
    out = np.select([radius < 0.78, radius < 0.88, radius < 1.0], [3, 2, 1], 0)
    folds = np.sin(9 * x + 2 * y) * np.sin(8 * y - 3 * z) * np.sin(7 * z + x)
    out[(radius < 0.7) & (folds > 0.12)] = 4
    for centre, size in (((0.2, 0.1, 0.1), 0.16), ((-0.25, 0.2, 0.05), 0.12), ((0.1, -0.4, -0.3), 0.2)):
        out[np.linalg.norm(np.stack([x, y, z], -1) - centre, axis=-1) < size] = 5
    return out


def image(geometry: Geometry, contrast: tuple[float, ...], moved=lambda points: points, noise: float = 0.02) -> Volume:
    """The phantom on a grid in a contrast (one value a tissue); `moved` maps grid points to phantom points, LPS mm."""
    values = np.array(contrast)[tissue(moved(voxel_points(geometry)))]
    values = ndimage.gaussian_filter(values.astype(float), 0.6)
    rng = np.random.default_rng(7)
    values += noise * (max(contrast) - min(contrast)) * rng.standard_normal(values.shape)
    return Volume(torch.from_numpy(values.astype(np.float32)), geometry)


T1 = (0.0, 80.0, 15.0, 55.0, 95.0, 20.0)
T2 = (0.0, 50.0, 10.0, 70.0, 40.0, 120.0)
CT = (-1000.0, 20.0, 900.0, 60.0, 15.0, -120.0)

MOTION = from_parameters(np.array([0.15, -0.1, 0.2, 14, -12, 10], float), np.zeros(3), "rigid")


def moved_pair() -> tuple[Volume, Volume]:
    """Fixed T1, moving T2 moved by MOTION."""
    back = np.linalg.inv(MOTION)
    return image(GRID, T1), image(OBLIQUE.padded(6), T2, lambda points: points @ back[:3, :3].T + back[:3, 3])


def inner_points() -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) LPS mm: points well inside the phantom, and where MOTION sends them."""
    points = voxel_points(GRID)
    points = points[np.linalg.norm(points / [62, 74, 66], axis=-1) < 0.75]
    return points, points @ MOTION[:3, :3].T + MOTION[:3, 3]
