"""Points through transforms and back: exact inverses, SimpleITK as the referee, what cannot be found is said."""

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk

import deformgan
from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.points import Landmarks
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, DisplacementField, Transform
from deformgan.warping.chain import chain
from deformgan.warping.points import TOLERANCE_MM, failures, solve, warp_points

LEFT_HANDED = Geometry(
    (26, 22, 30), (3.0, 4.0, 2.5), (30.0, -40.0, -35.0), tuple((phantoms.TILT * [1, -1, 1]).ravel().tolist())
)


def waves(lattice, size_mm, length_mm):
    points = voxel_points(lattice)
    u = [size_mm * np.sin(points[..., (a + 1) % 3] / length_mm + a) for a in range(3)]
    return DisplacementField(lattice, np.stack(u, -1).astype(np.float32))


def affine(seed, size=0.1):
    matrix = np.eye(4)
    matrix[:3] += size * np.random.default_rng(seed).normal(size=(3, 4)) * [1, 1, 1, 50]
    return Affine(matrix)


def inside(lattice, number=400, margin=4.0):
    index = np.random.default_rng(0).uniform(margin, np.array(lattice.size) - 1 - margin, (number, 3))
    return index @ lattice.matrix[:3, :3].T + lattice.matrix[:3, 3]


@pytest.mark.parametrize("lattice", [phantoms.OBLIQUE, LEFT_HANDED], ids=["oblique", "left-handed"])
def test_points_of_the_moving_image_come_from_where_the_transform_fetches_them(lattice):
    transform = Transform((affine(1, 0.01), waves(lattice, 6.0, 14.0), affine(2)))
    fixed = inside(lattice)
    moving = transform.apply(fixed)
    assert np.linalg.norm(moving - fixed, axis=1).mean() > 3
    np.testing.assert_allclose(warp_points(moving, transform), fixed, atol=1e-4)
    np.testing.assert_array_equal(warp_points(fixed, transform, inverse=True), moving)


def test_steep_fields_without_folds_are_inverted_too():
    """Slopes above 1 in size, where plain iteration does not settle, but det J > 0: a strong swirl."""
    lattice = Geometry((41, 41, 11), (2.0, 2.0, 2.0), (-40.0, -40.0, -10.0))
    points = voxel_points(lattice)
    radius = np.linalg.norm(points[..., :2], axis=-1)
    angle = np.deg2rad(170) * np.exp(-((radius / 18) ** 2))
    x, y = points[..., 0], points[..., 1]
    turned = np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], -1)
    u = np.concatenate([turned - points[..., :2], np.zeros_like(x)[..., None]], -1).astype(np.float32)
    transform = Transform((DisplacementField(lattice, u),))
    fixed = np.random.default_rng(0).uniform([-30, -30, -8], [30, 30, 8], (300, 3))
    found, error = solve(transform, transform.apply(fixed))
    assert error.max() < TOLERANCE_MM
    assert np.median(np.linalg.norm(found - fixed, axis=1)) < 1e-4


def test_almost_every_point_is_found_even_where_the_field_folds():
    lattice = Geometry((30, 30, 30), (2.0, 2.0, 2.0))
    noise = np.random.default_rng(0).normal(size=(*lattice.shape, 3))
    transform = Transform((DisplacementField(lattice, (1.5 * noise).astype(np.float32)),))
    fixed = np.random.default_rng(1).uniform(8, 50, (2000, 3))
    found, error = solve(transform, transform.apply(fixed))
    assert (error > TOLERANCE_MM).mean() < 0.01  # a fixed point exists for each of them
    np.testing.assert_allclose(
        np.linalg.norm(transform.apply(found) - transform.apply(fixed), axis=1), error, atol=1e-9
    )


def test_simpleitk_agrees_with_both_directions():
    lattice = LEFT_HANDED
    field, last = waves(lattice, 5.0, 15.0), affine(3, 0.02)
    u = sitk.GetImageFromArray(field.displacement.astype(float), isVector=True)
    u.SetOrigin(lattice.origin)
    u.SetSpacing(lattice.spacing)
    u.SetDirection(lattice.direction)
    referee = sitk.CompositeTransform(3)
    referee.AddTransform(sitk.AffineTransform(last.matrix[:3, :3].ravel().tolist(), last.matrix[:3, 3].tolist()))
    referee.AddTransform(sitk.DisplacementFieldTransform(u))
    transform, points = Transform((field, last)), inside(lattice, 50)
    there = warp_points(points, transform, inverse=True)
    np.testing.assert_allclose(there, [referee.TransformPoint(p) for p in points.tolist()], atol=1e-6)
    back = warp_points(points, transform)
    np.testing.assert_allclose([referee.TransformPoint(p) for p in back.tolist()], points, atol=TOLERANCE_MM)


def test_points_that_nothing_maps_to_are_named():
    lattice = Geometry((9, 9, 9))
    step = Transform((DisplacementField(lattice, np.full((9, 9, 9, 3), (3.0, 0.0, 0.0), np.float32)),))
    # 2.0 lies in the gap that the step at the border leaves; 6.0 comes from 3.0; 50 is outside, where u = 0.
    landmarks = Landmarks(np.array([[1.5, 4, 4], [6, 4, 4], [50, 4, 4]], float), ("gap", "inside", "far"))
    with pytest.warns(UserWarning, match=r"1 of 3 points .*gap \(1 mm\)") as caught:
        moved = warp_points(landmarks, step)
    assert "inside" not in str(caught[0].message) and caught[0].filename == __file__
    assert moved.names == landmarks.names
    np.testing.assert_allclose(moved.points[1:], [[3, 4, 4], [50, 4, 4]], atol=1e-6)
    assert failures(np.zeros(3)) == ""
    assert "number 2 (5 mm)" in failures(np.array([0, 5.0]))


def test_several_transforms_are_listed_as_fixed_points_go(tmp_path):
    shift, turn = np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])
    shift[0, 3] = 10.0
    first, second = Transform((Affine(shift),)), Transform((Affine(turn),))
    second.save(tmp_path / "second.h5")
    both = [first, tmp_path / "second.h5"]
    np.testing.assert_allclose(warp_points(np.zeros((1, 3)), both, inverse=True), [[-10, 0, 0]])
    np.testing.assert_allclose(warp_points(np.array([[-10.0, 0, 0]]), both), np.zeros((1, 3)), atol=1e-12)
    assert len(chain(both).parts) == 2
    with pytest.raises(InputError, match="no transform"):
        chain([])
    with pytest.raises(InputError, match=r"\(N, 3\)"):
        deformgan.warp_points(np.zeros(3), first)
