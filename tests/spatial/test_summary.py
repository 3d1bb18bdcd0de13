"""The figures of a transform: planted rotation, scale, shear, displacement, folds, and the inverse's error."""

import numpy as np
import pytest

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.summary import deformable, inverse_error_mm, sample_points, summary
from deformgan.spatial.transform import Affine, DisplacementField, Transform

GRID = Geometry((20, 16, 18), (2.0, 3.0, 2.5), (-20.0, -24.0, -22.0), (0, -1, 0, 1, 0, 0, 0, 0, -1))


def turn(degrees):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def waves(size_mm):
    x = voxel_points(GRID)
    u = np.stack([size_mm * np.sin(x[..., (a + 1) % 3] / 9) for a in range(3)], -1)
    return DisplacementField(GRID, u.astype(np.float32))


def test_a_planted_matrix_is_taken_apart():
    matrix = np.eye(4)
    matrix[:3, :3] = turn(30) @ np.array([[1, 0.2, 0], [0, 1, 0], [0, 0, 1]]) @ np.diag([1.5, 0.8, 1.1])
    matrix[:3, 3] = 4, 5, 6
    (part,) = summary(Transform((Affine(matrix),)))["parts"]
    np.testing.assert_allclose(part["rotation_vector_degrees"], (0, 0, 30), atol=1e-9)
    np.testing.assert_allclose(part["scales"], (1.5, 0.8, 1.1), atol=1e-9)
    np.testing.assert_allclose(part["shears_xy_xz_yz"], (0.2, 0, 0), atol=1e-9)
    assert part["volume_factor"] == pytest.approx(1.5 * 0.8 * 1.1) and part["translation_mm"] == [4, 5, 6]
    (mirrored,) = summary(Transform((Affine(np.diag([-1.0, 1, 1, 1])),)))["parts"]
    assert mirrored["volume_factor"] == -1 and "scales" not in mirrored


def test_a_field_tells_its_lattice_its_way_and_its_folds():
    part = summary(Transform((waves(3.0),)))["parts"][0]
    assert part["lattice"]["size"] == [20, 16, 18] and part["lattice"]["extent_mm"] == [40, 48, 45]
    assert part["folding_percent"] == 0 and part["min_jacobian"] > 0
    u = waves(3.0).displacement
    assert part["displacement_mm"]["max"] == pytest.approx(np.sqrt((u**2).sum(-1)).max(), rel=1e-6)
    assert summary(Transform((waves(30.0),)))["parts"][0]["folding_percent"] > 1


def test_points_lie_in_fixed_space_before_the_matrices():
    matrix = np.eye(4)
    matrix[:3, 3] = 100, 0, 0
    points = sample_points(Transform((Affine(matrix), waves(1.0))))
    np.testing.assert_allclose(points.mean(0), GRID.centre - [100, 0, 0], atol=1e-9)
    assert summary(Transform())["displacement_mm"] == {"mean": 0.0, "max": 0.0}


def test_inverse_error_is_small_for_a_smooth_map_and_large_for_none():
    transform = Transform((waves(3.0), Affine(np.diag([1.1, 0.9, 1.0, 1.0]))))
    assert inverse_error_mm(transform, ~transform)["mean"] < 0.1  # of a lattice of 2 to 3 mm
    assert inverse_error_mm(transform, Transform())["mean"] > 1


def test_the_deformable_part_is_the_fields():
    field = waves(3.0)
    assert deformable(Transform((Affine(np.eye(4)), field))).parts == (field,)
    with pytest.raises(InputError, match="affine"):
        deformable(Transform((Affine(np.eye(4)),)))
