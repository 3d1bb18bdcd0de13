"""Small pairs with a known answer, and one pool of two worker processes for all tests."""

import phantoms
import pytest
import torch

from deformgan.cohort.pool import PoolOptions, open_pool
from deformgan.io.formats import write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.spatial.grid import voxel_points

SMALL = Geometry((28, 30, 26), (6.0, 6.0, 7.0), (-82.0, -88.0, -90.0))
SHIFT = (6.0, -5.0, 4.0)  # a moving image's point is the fixed one's plus this, mm


def moved(points):
    return points - SHIFT


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """fixed, moving and the labels of both, on an oblique and another grid."""
    folder = tmp_path_factory.mktemp("images")
    write_volume(phantoms.image(SMALL, phantoms.T2), folder / "fixed.nii.gz")
    oblique = phantoms.centred((30, 24, 31), (5.6, 7.2, 5.8), phantoms.TILT)
    write_volume(phantoms.image(oblique, phantoms.T1, moved), folder / "moving.nii.gz")
    for name, grid, where in (("fixed", SMALL, lambda p: p), ("moving", oblique, moved)):
        labels = torch.from_numpy(phantoms.tissue(where(voxel_points(grid))).astype("int16"))
        write_volume(Volume(labels, grid), folder / f"{name}_labels.nii.gz")
    return folder


@pytest.fixture(scope="session")
def pool():
    with open_pool(PoolOptions(workers=2, retries=1)) as workers:
        yield workers
