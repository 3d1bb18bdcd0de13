"""Finished volumes measured: slices of the right plane on any grid."""

import numpy as np
import pytest
import torch
from phantoms import OBLIQUE

from deformgan.config import SynthesisDataConfig
from deformgan.errors import InputError
from deformgan.io.formats import write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.report.orientation import Orientation
from deformgan.spatial.grid import voxel_points
from deformgan.study.people import TURNED, measure_ct
from deformgan.synthesis.orientation import Orientation as SynthesisOrientation

LEFT_HANDED = Geometry((22, 26, 14), (2.0, 2.5, 4.0), (10.0, -8.0, -80.0), (0, -1, 0, 1, 0, 0, 0, 0, -1))
FIRST = {"axial": 2, "coronal": 1, "sagittal": 0}  # the world's axis across the plane


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("grid", [OBLIQUE, LEFT_HANDED], ids=["oblique", "left-handed"])
def test_an_error_that_grows_across_the_plane_grows_from_slice_to_slice(grid, plane, tmp_path):
    along = voxel_points(grid)[..., FIRST[plane]]
    real = Volume(torch.zeros(grid.shape), grid)
    made = Volume(torch.from_numpy(np.abs(along - along.min()).astype(np.float32)) / 2, grid)
    write_volume(made, tmp_path / "made.mha")
    errors = np.array([row["mae_hu"] for row in measure_ct(tmp_path / "made.mha", real, plane=plane)])
    axis = SynthesisOrientation.of(grid, SynthesisDataConfig(manifest="x", plane=plane, shape=(8, 8))).order[0]
    assert len(errors) == grid.shape[axis] and Orientation.of(grid).order[TURNED[plane]] == axis
    assert (np.diff(errors) > 0).all() or (np.diff(errors) < 0).all()


def test_grids_that_differ_are_refused():
    one = Volume(torch.zeros(OBLIQUE.shape), OBLIQUE)
    grid = Geometry(OBLIQUE.size, OBLIQUE.spacing, (0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="the real CT is not on the grid of the made CT"):
        measure_ct(one, Volume(torch.zeros(grid.shape), grid))


def test_a_mask_of_ones_and_noughts_tells_what_counts():
    real = Volume(torch.zeros(LEFT_HANDED.shape), LEFT_HANDED)
    made, mask = (Volume(torch.zeros(LEFT_HANDED.shape), LEFT_HANDED) for _ in range(2))
    made.tensor[:, :10] = 100
    mask.tensor[:, 5:] = 1
    found = measure_ct(made, real, mask=mask)
    assert [row["mae_hu"] for row in found] == pytest.approx([100 * 5 / 21] * 14, rel=1e-4)
    assert found[0]["pixels"] == 21 * 22
