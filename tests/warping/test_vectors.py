"""Vectors and tensors under planted maps: directions known in advance, lengths and eigenvalues kept."""

import numpy as np
import phantoms
import pytest

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, DisplacementField, Transform
from deformgan.warping.vectors import Components, jacobians, warp_components

MOVING = phantoms.centred((24, 22, 20), (3.0, 3.5, 4.0), phantoms.TILT)
REFERENCE = phantoms.centred((18, 17, 16), (3.0, 3.0, 3.0), np.diag([-1.0, 1.0, 1.0]))  # left-handed
ROWS, COLUMNS = [0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]
RAS = np.diag([-1.0, -1.0, 1.0])


def rotation(degrees, axis=(1.0, 2.0, -0.5)):
    k = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def about_centre(linear):
    matrix, centre = np.eye(4), np.array([3.0, -4.0, 2.0])
    matrix[:3, :3], matrix[:3, 3] = linear, centre - linear @ centre
    return Transform((Affine(matrix),))


def as_field(transform, lattice):
    return Transform((DisplacementField(lattice, transform.displacement_on(lattice)),))


def constant(value, geometry=MOVING):
    values = np.empty((len(value), *geometry.shape), np.float32)
    values[:] = np.asarray(value)[:, None, None, None]
    return Components(values, geometry)


def filled(warped):
    """The components where the image reached, (N, C)."""
    flat = warped.values.reshape(len(warped.values), -1).T
    flat = flat[np.abs(flat).max(1) > 0]
    assert len(flat) > 1000
    return flat


def axes(geometry, frame):
    return {"lps": np.eye(3), "ras": RAS, "voxel": np.array(geometry.direction).reshape(3, 3)}[frame]


@pytest.mark.parametrize("frame", ["lps", "ras", "voxel"])
@pytest.mark.parametrize("dense", [False, True], ids=["affine", "field"])
def test_vectors_turn_with_a_planted_rotation_and_keep_their_length(frame, dense):
    turn, vector = rotation(35), np.array([1.0, -2.0, 0.5])
    pull = about_centre(turn)  # fixed -> moving
    pull = as_field(pull, REFERENCE.padded(3)) if dense else pull
    stored = axes(MOVING, frame).T @ vector
    warped, notes = warp_components(constant(stored), pull, REFERENCE, frame=frame)
    expected = axes(REFERENCE, frame).T @ (turn.T @ vector)  # tissue turns the other way, moving -> fixed
    np.testing.assert_allclose(filled(warped), np.tile(expected, (len(filled(warped)), 1)), atol=1e-4)
    assert notes == ()


def test_a_line_of_tissue_keeps_its_vectors_along_it():
    """The image itself shows the way: a fibre that the map bends must carry vectors along the bent fibre."""
    lattice = Geometry((41, 41, 9), (2.0, 2.0, 2.0), (-40.0, -40.0, -8.0))
    points = voxel_points(lattice)
    u = np.zeros((*lattice.shape, 3), np.float32)
    u[..., 1] = 8 * np.sin(points[..., 0] / 12)  # fixed y = moving y - 8 sin(x / 12)
    values = np.zeros((3, *lattice.shape), np.float32)
    values[0] = 1.0
    bend = Transform((DisplacementField(lattice, u),))
    warped, _ = warp_components(Components(values, lattice), bend, lattice, reorient="ppd")
    inner = np.abs(points[..., 1]) < 25
    slope = -8 / 12 * np.cos(points[..., 0] / 12)
    expected = np.stack([np.ones_like(slope), slope, np.zeros_like(slope)]) / np.sqrt(1 + slope**2)
    inner[:, :, [0, -1]] = False
    np.testing.assert_allclose(warped.values[:, inner], expected[:, inner], atol=0.02)


@pytest.mark.parametrize("reorient", ["rotation", "ppd"])
@pytest.mark.parametrize("frame", ["lps", "ras", "voxel"])
def test_tensors_keep_their_eigenvalues_and_turn(reorient, frame):
    shear = rotation(20) @ np.array([[1.1, 0.15, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.05]])
    directions, sizes = rotation(50, (0, 1, 1)), np.array([0.3, 0.7, 1.7])
    tensor = directions * sizes @ directions.T
    into = axes(MOVING, frame)
    stored = (into.T @ tensor @ into)[ROWS, COLUMNS]
    warped, _ = warp_components(constant(stored), about_centre(shear), REFERENCE, reorient=reorient, frame=frame)
    rows = filled(warped)
    found = np.empty((len(rows), 3, 3))
    found[:, ROWS, COLUMNS] = found[:, COLUMNS, ROWS] = rows
    out = axes(REFERENCE, frame)
    found = out @ found @ out.T
    values, vectors = np.linalg.eigh(found)
    np.testing.assert_allclose(values, np.tile(sizes, (len(values), 1)), atol=1e-5)
    forward = np.linalg.inv(shear)
    left, _, right = np.linalg.svd(forward)
    main = {"rotation": left @ right @ directions[:, 2], "ppd": forward @ directions[:, 2]}[reorient]
    np.testing.assert_allclose(np.abs(vectors[:, :, 2] @ main) / np.linalg.norm(main), 1, atol=1e-5)
    if reorient == "ppd":  # the plane of the first two as well
        normal = np.cross(main, forward @ directions[:, 1])
        np.testing.assert_allclose(np.abs(vectors[:, :, 0] @ normal) / np.linalg.norm(normal), 1, atol=1e-5)


def test_the_whole_jacobian_and_none():
    shear = np.array([[1.2, 0.2, 0.0], [0.0, 0.8, 0.1], [0.1, 0.0, 1.1]])
    vector, tensor = np.array([1.0, 2.0, 3.0]), np.diag([1.0, 2.0, 3.0])
    warped, _ = warp_components(constant(vector), about_centre(shear), REFERENCE, reorient="jacobian")
    np.testing.assert_allclose(filled(warped)[0], np.linalg.inv(shear) @ vector, atol=1e-5)
    warped, _ = warp_components(constant(tensor[ROWS, COLUMNS]), about_centre(shear), REFERENCE, reorient="jacobian")
    forward = np.linalg.inv(shear)
    np.testing.assert_allclose(filled(warped)[0], (forward @ tensor @ forward.T)[ROWS, COLUMNS], atol=1e-5)
    warped, _ = warp_components(constant(vector), about_centre(shear), REFERENCE, reorient="none", frame="voxel")
    np.testing.assert_allclose(filled(warped)[0], vector, atol=1e-6)


def test_jacobian_of_a_chain_is_the_product():
    first, second = np.diag([1.1, 0.9, 1.0, 1.0]), np.eye(4)
    second[:3, :3] = rotation(30)
    chain = Transform((Affine(first), Affine(second)))
    points = np.random.default_rng(0).uniform(-20, 20, (5, 3))
    expected = (second @ first)[:3, :3]
    np.testing.assert_allclose(jacobians(chain, points), expected[None], atol=1e-12)
    field = as_field(chain, Geometry((30, 30, 30), (3.0, 3.0, 3.0), (-43.5, -43.5, -43.5)))
    np.testing.assert_allclose(jacobians(field, points), np.tile(expected, (5, 1, 1)), atol=1e-4)


def test_folded_places_are_left_and_said():
    lattice = Geometry((20, 6, 6))
    u = np.zeros((*lattice.shape, 3), np.float32)
    u[..., 8:12, 0] = -3 * np.arange(4)
    transform = Transform((DisplacementField(lattice, u),))
    warped, notes = warp_components(constant([0.0, 1.0, 0.0], lattice), transform, lattice)
    assert "folds at" in notes[0]
    assert np.isfinite(warped.values).all()
    with pytest.raises(InputError, match="ppd"):
        warp_components(constant([0.0, 1.0, 0.0], lattice), transform, lattice, reorient="best")
