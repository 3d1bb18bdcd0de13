"""Chains of affines and fields: exact answers, and SimpleITK as the referee over all 48 orders of the axes."""

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, DisplacementField, Transform

ORDERS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def rotation(degrees, axis=2):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.eye(3)
    i, j = [a for a in range(3) if a != axis]
    turn[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return turn


def grid(order=(0, 1, 2), signs=(1, 1, 1), size=(9, 7, 8), degrees=17.0):
    direction = rotation(degrees) @ rotation(degrees / 2, axis=0) @ (np.eye(3)[list(order)] * signs)
    return Geometry(size, (1.5, 2.25, 3.0), (-11.0, 4.0, 27.5), tuple(direction.ravel()))


def field_on(geometry, size_mm=2.0, seed=0):
    noise = np.random.default_rng(seed).normal(size=(*geometry.shape, 3))
    return DisplacementField(geometry, (size_mm * noise).astype(np.float32))


def smooth_field(geometry, size_mm=4.0):
    """Sines of the world position with a slope of at most 0.35."""
    points = voxel_points(geometry)
    waves = [size_mm * np.sin(points[..., (a + 1) % 3] / 12 + a) for a in range(3)]
    return DisplacementField(geometry, np.stack(waves, -1).astype(np.float32))


def affine(seed=0):
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] += 0.15 * rng.normal(size=(3, 3))
    matrix[:3, 3] = 5 * rng.normal(size=3)
    return Affine(matrix)


def referee(transform):
    """The same chain built by SimpleITK, which applies the transform added last first."""
    composite = sitk.CompositeTransform(3)
    for part in reversed(transform.parts):
        if isinstance(part, Affine):
            one = sitk.AffineTransform(3)
            one.SetMatrix(part.matrix[:3, :3].ravel().tolist())
            one.SetTranslation(part.matrix[:3, 3].tolist())
        else:
            image = sitk.GetImageFromArray(part.displacement.astype(float), isVector=True)
            image.SetOrigin(part.geometry.origin)
            image.SetSpacing(part.geometry.spacing)
            image.SetDirection(part.geometry.direction)
            one = sitk.DisplacementFieldTransform(image)
        composite.AddTransform(one)
    return composite


def points_around(geometry, number=300, voxels=2.0, seed=1):
    """Points over the grid and `voxels` beyond it, LPS mm."""
    size = np.array(geometry.size)
    index = np.random.default_rng(seed).uniform(-voxels, size - 1 + voxels, (number, 3))
    return index @ geometry.matrix[:3, :3].T + geometry.matrix[:3, 3]


@pytest.mark.parametrize(("order", "signs"), ORDERS)
def test_points_agree_with_simpleitk_over_the_48_orders(order, signs):
    lattice = grid(order, signs)
    transform = Transform((affine(1), field_on(lattice), affine(2)))
    points = points_around(lattice)
    expected = [referee(transform).TransformPoint(p) for p in points.tolist()]
    np.testing.assert_allclose(transform.apply(points), expected, atol=1e-6)


def test_border_value_holds_for_half_a_voxel_and_then_u_is_zero():
    lattice = Geometry((4, 4, 4))
    transform = Transform((DisplacementField(lattice, np.full((4, 4, 4, 3), 2.0, np.float32)),))
    x = np.array([-0.51, -0.5, -0.49, 3.49, 3.5, 3.51])
    points = np.stack([x, np.full(6, 1.0), np.full(6, 1.0)], -1)
    np.testing.assert_array_equal((transform.apply(points) - points)[:, 0] > 1, [False, True, True, True, False, False])
    expected = [referee(transform).TransformPoint(p) for p in points.tolist()]
    np.testing.assert_allclose(transform.apply(points), expected, atol=1e-12)


def test_product_applies_the_right_one_first():
    turn, shift = np.eye(4), np.eye(4)
    turn[:3, :3] = rotation(90)
    shift[0, 3] = 10.0
    points = np.array([[1.0, 0.0, 0.0]])
    turned_last = Transform((Affine(turn),)) @ Transform((Affine(shift),))
    np.testing.assert_allclose(turned_last.apply(points), [[0.0, 11.0, 0.0]], atol=1e-12)
    both, field = (affine(3), affine(4)), field_on(grid())
    chain = Transform((field, *both, field))
    assert len(chain.merged().parts) == 3
    np.testing.assert_allclose(chain.merged().apply(points), chain.apply(points), atol=1e-9)


def test_identity_and_affines_are_exact():
    points = points_around(grid())
    np.testing.assert_array_equal(Transform.identity().apply(points), points)
    assert Transform.identity().inverse().parts == ()
    chain = Transform((affine(5), affine(6)))
    assert chain.inverse_error_mm(chain.inverse(), points).max() < 1e-10


@pytest.mark.parametrize(("order", "signs"), [ORDERS[0], ORDERS[21], ORDERS[42]])
def test_inverse_of_a_smooth_field_returns_the_points(order, signs):
    lattice = grid(order, signs, size=(32, 24, 20))
    transform = Transform((smooth_field(lattice), affine(7)))
    index = np.random.default_rng(0).uniform(5, np.array(lattice.size) - 6, (500, 3))
    points = index @ lattice.matrix[:3, :3].T + lattice.matrix[:3, 3]
    assert np.linalg.norm(transform.apply(points) - points, axis=1).mean() > 1
    inverse = transform.inverse()
    assert transform.inverse_error_mm(inverse, points).mean() < 0.05
    assert isinstance(inverse.parts[0], Affine) and inverse.parts[1].geometry == lattice


def test_displacement_on_is_the_way_of_each_voxel_centre():
    geometry = grid(size=(5, 6, 4), degrees=-8.0)
    transform = Transform((field_on(grid(ORDERS[9][0], ORDERS[9][1])), affine(8)))
    u = transform.displacement_on(geometry)
    expected = sitk.TransformToDisplacementField(
        referee(transform), sitk.sitkVectorFloat64, geometry.size, geometry.origin, geometry.spacing, geometry.direction
    )
    assert u.dtype == np.float32
    np.testing.assert_allclose(u, sitk.GetArrayFromImage(expected), atol=1e-4)


@pytest.mark.parametrize(
    "lattice", [grid(ORDERS[9][0], ORDERS[9][1]), grid(size=(7, 5, 6))], ids=["turned", "straight"]
)
@pytest.mark.parametrize("degrees", [0.0, 3.0])
def test_displacement_of_a_field_alone_is_read_in_one_pass(lattice, degrees):
    geometry, transform = grid(size=(5, 6, 7), degrees=degrees), Transform((field_on(lattice),))
    points = voxel_points(geometry)
    expected = (transform.apply(points.reshape(-1, 3)) - points.reshape(-1, 3)).reshape(points.shape)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(transform.displacement_on(geometry), expected, atol=1e-5)
    in_voxels = (expected @ geometry.inverse[:3, :3].T)[..., ::-1]
    np.testing.assert_allclose(transform.voxel_displacement_on(geometry).transpose(1, 2, 3, 0), in_voxels, atol=1e-5)
    two = Transform((field_on(lattice), affine(8)))
    np.testing.assert_allclose(
        two.voxel_displacement_on(geometry).transpose(1, 2, 3, 0),
        (two.displacement_on(geometry) @ geometry.inverse[:3, :3].T)[..., ::-1],
        atol=1e-4,
    )


def test_displacement_by_slabs_equals_that_in_one(monkeypatch):
    transform, geometry = Transform((field_on(grid()), affine(8))), grid(size=(5, 6, 7), degrees=3.0)
    whole = transform.displacement_on(geometry)
    monkeypatch.setattr("deformgan.spatial.transform._POINTS_AT_ONCE", 60)
    np.testing.assert_allclose(transform.displacement_on(geometry), whole, atol=1e-5)


def test_nothing_given_is_changed():
    matrix, points = affine(9).matrix.copy(), np.zeros((2, 3))
    transform = Transform((Affine(matrix),))
    transform.apply(points)
    transform.inverse()
    np.testing.assert_array_equal(matrix, affine(9).matrix)
    np.testing.assert_array_equal(points, 0)


def test_wrong_parts_are_refused_with_a_reason():
    with pytest.raises(InputError, match="singular"):
        Affine(np.diag([1.0, 0.0, 1.0, 1.0]))
    with pytest.raises(InputError, match=r"\(4, 4\)"):
        Affine(np.eye(3))
    with pytest.raises(InputError, match="as its grid"):
        DisplacementField(Geometry((3, 4, 5)), np.zeros((3, 4, 5, 3), np.float32))
    with pytest.raises(InputError, match="not finite"):
        DisplacementField(Geometry((1, 1, 1)), np.full((1, 1, 1, 3), np.nan, np.float32))
    with pytest.raises(InputError, match="ndarray"):
        Transform((np.eye(4),))
    with pytest.raises(InputError, match=r"\(N, 3\)"):
        Transform.identity().apply(np.zeros(3))
