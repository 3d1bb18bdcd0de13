"""A registration whose answer is known: does this installation find it, and do other tools read what it writes?"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deformgan.io.geometry import Geometry
from deformgan.io.transforms.itk import mapped_by_library
from deformgan.io.volume import Volume
from deformgan.registration.options import RegisterOptions
from deformgan.registration.pipeline import register
from deformgan.spatial.grid import voxel_points

Points = NDArray[np.float64]
FIXED_CONTRAST, MOVING_CONTRAST = (0.0, 40.0, 70.0, 120.0), (0.0, 90.0, 55.0, 20.0)  # of air, and three tissues
MOST_MM = {"error": 3.0, "inverse": 0.5, "simpleitk": 0.01}  # what a sound installation stays below
RADII_MM = np.array([62.0, 74.0, 66.0])
BEND_MM, PERIOD_MM = 4.0, 120.0
SHIFT_MM = np.array([8.0, -6.0, 5.0])


@dataclass(frozen=True)
class SelfTest:
    """Mm.  before, error: mean distance to the truth within the tissue.  inverse: there and back, 95th percentile.

    simpleitk: the largest distance between where we and SimpleITK, reading the file, send a point.
    """

    before: float
    error: float
    inverse: float
    simpleitk: float

    @property
    def faults(self) -> list[str]:
        """The figures that are larger than they may be."""
        values = {name: getattr(self, name) for name in MOST_MM}
        return [f"{name} {value:.3g} mm" for name, value in values.items() if not value < MOST_MM[name]]


def self_test() -> SelfTest:
    """Register a phantom in two contrasts, of which one is shifted and bent, on grids that are not each other's."""
    fixed_grid = Geometry((40, 44, 38), (4.0, 4.0, 4.5), (-80.0, -88.0, -84.0))
    moving_grid = Geometry(
        (42, 40, 46), (4.2, 4.4, 4.0), (86.0, -90.0, -92.0), (-1, 0, 0, 0, 0.96, -0.28, 0, 0.28, 0.96)
    )
    points = voxel_points(fixed_grid)
    fixed, moving = _image(truth_of(points), FIXED_CONTRAST), _image(voxel_points(moving_grid), MOVING_CONTRAST)
    found = register(Volume(fixed, fixed_grid), Volume(moving, moving_grid), options=RegisterOptions(preset="fast"))
    inside = points[_tissue(truth_of(points)) > 0]
    truth = truth_of(inside)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "transform.h5"
        found.transform.save(file)
        some = inside[:: max(1, len(inside) // 500)]
        apart = _distance(mapped_by_library(file, some), found.transform.apply(some))
    return SelfTest(
        float(_distance(inside, truth).mean()),
        float(_distance(found.transform.apply(inside), truth).mean()),
        float(np.percentile(found.transform.inverse_error_mm(found.inverse, some), 95)),
        float(apart.max()),
    )


def truth_of(points: Points) -> Points:
    """The truth: fixed points -> moving points, LPS mm."""
    return points + SHIFT_MM + BEND_MM * np.sin(2 * np.pi * np.roll(points, 1, -1) / PERIOD_MM)


def _image(points: Points, contrast: tuple[float, ...]) -> torch.Tensor:
    values = np.array(contrast, np.float32)[_tissue(points)]
    noise = np.random.default_rng(7).standard_normal(values.shape).astype(np.float32)
    return torch.from_numpy(values + 2 * noise)


def _tissue(points: Points) -> NDArray[np.int64]:
    """(..., 3) LPS mm -> 0 air, 1 rim, 2 and 3 within, like nothing when turned or mirrored."""
    x, y, z = np.moveaxis(points / RADII_MM, -1, 0)
    radius = np.sqrt(x**2 + y**2 + z**2) * (1 + 0.06 * np.sin(3 * np.arctan2(y, x) + 2 * z))
    folds = np.sin(9 * x + 2 * y) * np.sin(8 * y - 3 * z) * np.sin(7 * z + x) > 0.12
    return np.select([radius > 1, radius > 0.85, folds], [0, 1, 3], 2)


def _distance(a: Points, b: Points) -> Points:
    return np.linalg.norm(a - b, axis=-1)
