"""Folding and the inverse, for chains in any order and fields smaller than the image."""

import numpy as np
import phantoms
import pytest
import torch

from deformgan.errors import InputError
from deformgan.evaluation.regularity import inverse_error, regularity
from deformgan.io.geometry import Geometry
from deformgan.spatial import jacobian
from deformgan.spatial.grid import displacement_to_voxels, voxel_points
from deformgan.spatial.transform import Affine, DisplacementField, Transform

GRID = phantoms.centred((24, 20, 22), (2.0, 3.0, 2.5), phantoms.TILT)


def waves(geometry, size_mm=6.0):
    points = voxel_points(geometry)
    u = [size_mm * np.sin(points[..., (a + 1) % 3] / 7 + points[..., a] / 9) for a in range(3)]
    return DisplacementField(geometry, np.stack(u, -1).astype(np.float32))


def affine(seed=0):
    matrix = np.eye(4)
    matrix[:3] += 0.1 * np.random.default_rng(seed).normal(size=(3, 4)) * [1, 1, 1, 40]
    return Affine(matrix)


def test_field_then_affine_is_the_field_alone():
    field, turn = waves(GRID), affine()
    plain = jacobian.regularity(displacement_to_voxels(field.displacement, GRID))
    assert plain["folding_percent"] > 1
    found = regularity(Transform((field, turn)), GRID)
    assert found.pop("affine_volume_factor") == pytest.approx(np.linalg.det(turn.matrix))
    assert found == pytest.approx(plain, rel=1e-5)


def test_affine_then_field_is_judged_where_the_field_is_read():
    """x -> u(B x) folds where B puts it: the determinant is that of the whole map, divided by B's."""
    turn, wide = affine(1), GRID.padded(25)
    field = waves(wide, 3.0)
    found = regularity(Transform((turn, field)), GRID)
    image = Geometry.from_matrix(turn.matrix @ GRID.matrix, GRID.size)  # sheared: sampled by hand
    at = voxel_points(GRID) @ turn.matrix[:3, :3].T + turn.matrix[:3, 3]
    u = (Transform((field,)).apply(at.reshape(-1, 3)) - at.reshape(-1, 3)).reshape(at.shape)
    lattice = (turn.matrix @ GRID.matrix)[:3, :3]
    voxels = (u @ np.linalg.inv(lattice).T)[..., ::-1].transpose(3, 0, 1, 2)
    expected = jacobian.regularity(torch.from_numpy(np.ascontiguousarray(voxels, np.float32))[None])
    assert image.size == GRID.size and expected["sd_log_jacobian"] > 0.1
    del found["affine_volume_factor"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_edge_of_a_small_field_is_no_fold():
    small = Geometry((10, 9, 8), GRID.spacing, tuple(GRID.matrix[:3] @ (5, 4, 6, 1)), GRID.direction)
    shift = DisplacementField(small, np.full((8, 9, 10, 3), 9.0, np.float32))
    found = regularity(Transform((shift,)), GRID)
    assert (found["folding_percent"], found["sd_log_jacobian"]) == (0, 0)
    assert found["min_jacobian"] == pytest.approx(1, abs=1e-6)
    whole = jacobian.regularity(torch.from_numpy(Transform((shift,)).voxel_displacement_on(GRID))[None])
    assert whole["folding_percent"] > 0  # what counting the jump would give
    far = Geometry((10, 9, 8), GRID.spacing, (900.0, 0.0, 0.0))
    with pytest.raises(InputError, match="share no voxel"):
        regularity(Transform((DisplacementField(far, shift.displacement),)), GRID)


def test_the_mask_says_where_it_counts():
    field = waves(GRID)
    mask = np.zeros(GRID.shape, bool)
    mask[5:9, 6:12, 7:14] = True
    plain = jacobian.regularity(displacement_to_voxels(field.displacement, GRID), torch.from_numpy(mask)[None, None])
    found = regularity(Transform((field,)), GRID, mask)
    assert found == pytest.approx({**plain, "affine_volume_factor": 1.0}, rel=1e-5)


def test_affines_alone_are_regular():
    found = regularity(Transform((affine(2), affine(3))), GRID)
    assert found["folding_percent"] == 0 and found["min_jacobian"] == found["max_jacobian"] == 1
    assert found["affine_volume_factor"] == pytest.approx(np.linalg.det(affine(3).matrix @ affine(2).matrix))


def test_a_wrong_inverse_is_as_wrong_as_it_is():
    transform, off = Transform((affine(4),)), np.eye(4)
    off[0, 3] = 2.0
    inverse = transform.inverse()
    assert inverse_error(transform, inverse, GRID)["max"] < 1e-9
    wrong = Transform((*inverse.parts, Affine(off)))
    assert inverse_error(transform, wrong, GRID) == pytest.approx({"mean": 2, "p95": 2, "max": 2})


def test_the_inverse_is_checked_within_mask_and_moving_image():
    """An inverse that is wrong in half of the world only: who looks at the other half sees no error."""
    half = Geometry((20, 40, 40), (4.0, 4.0, 4.0), (GRID.centre[0], GRID.centre[1] - 80, GRID.centre[2] - 80))
    wrong = Transform((DisplacementField(half, np.full((40, 40, 20, 3), 1.0, np.float32)),))
    right_half = voxel_points(GRID)[..., 0] > GRID.centre[0] + 3
    assert 0.3 < right_half.mean() < 0.7
    assert inverse_error(Transform.identity(), wrong, GRID, mask=~right_half)["mean"] < 0.4
    assert inverse_error(Transform.identity(), wrong, GRID, mask=right_half)["mean"] == pytest.approx(3**0.5, rel=1e-4)
    assert inverse_error(Transform.identity(), wrong, GRID, moving=half)["mean"] == pytest.approx(3**0.5, rel=1e-4)
