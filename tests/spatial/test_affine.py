"""Parameters, matrices and derivatives of rigid, similarity and affine maps."""

import numpy as np
import pytest

from deformgan.errors import InputError
from deformgan.spatial.affine import PARAMETERS, derivatives, from_parameters, to_parameters

CENTRE = np.array([12.0, -40.0, 7.5])
MODELS = sorted(PARAMETERS)


def parameters(model, *, angle=0.7, seed=0):
    rng = np.random.default_rng(seed)
    if model == "translation":
        return rng.normal(0, 20, 3)
    if model.endswith("2d"):
        return np.concatenate([[angle], rng.normal(0, 20, 2), rng.normal(0, 0.2, PARAMETERS[model] - 3)])
    axis = rng.standard_normal(3)
    rotation = angle * axis / np.linalg.norm(axis)
    return np.concatenate([rotation, rng.normal(0, 20, 3), rng.normal(0, 0.2, PARAMETERS[model] - 6)])


@pytest.mark.parametrize("model", MODELS)
def test_zeros_are_the_identity(model):
    np.testing.assert_array_equal(from_parameters(np.zeros(PARAMETERS[model]), CENTRE, model), np.eye(4))
    np.testing.assert_allclose(to_parameters(np.eye(4), CENTRE, model), 0, atol=1e-15)


def test_a_quarter_turn_about_z_takes_x_to_y_about_the_centre():
    matrix = from_parameters(np.array([0, 0, np.pi / 2, 1, 2, 3]), CENTRE, "rigid")
    moved = matrix @ np.append(CENTRE + np.array([10, 0, 0]), 1)
    np.testing.assert_allclose(moved[:3], CENTRE + np.array([1, 12, 3]), atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 9e-5, 0.3, 2.0, 3.14, np.pi])
def test_parameters_to_matrix_and_back(model, angle):
    p = parameters(model, angle=angle)
    matrix = from_parameters(p, CENTRE, model)
    back = to_parameters(matrix, CENTRE, model)
    np.testing.assert_allclose(from_parameters(back, CENTRE, model), matrix, atol=1e-10)
    if angle < 3.1:
        np.testing.assert_allclose(back, p, atol=1e-10)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("angle", [0.0, 1e-5, 1.1e-4, 0.02, 0.7, 3.0])
def test_derivatives_are_those_of_differences(model, angle):
    p, step = parameters(model, angle=angle), 1e-5
    exact = derivatives(p, CENTRE, model)
    for k, unit in enumerate(np.eye(len(p))):
        ends = [from_parameters(p + s * step * unit, CENTRE, model) for s in (-1, 1)]
        np.testing.assert_allclose(exact[k], (ends[1] - ends[0]) / (2 * step), atol=2e-7)


def test_models_nest():
    rigid = parameters("rigid")
    matrix = from_parameters(rigid, CENTRE, "rigid")
    np.testing.assert_allclose(to_parameters(matrix, CENTRE, "similarity"), [*rigid, 0], atol=1e-12)
    np.testing.assert_allclose(to_parameters(matrix, CENTRE, "affine"), [*rigid, *[0] * 6], atol=1e-12)
    scaled = from_parameters(np.append(rigid, 0.2), CENTRE, "similarity")
    np.testing.assert_allclose(to_parameters(scaled, CENTRE, "rigid"), rigid, atol=1e-12)


@pytest.mark.parametrize("model", ["rigid2d", "similarity2d", "scales2d"])
def test_maps_of_the_plane_leave_z(model):
    matrix = from_parameters(parameters(model), CENTRE, model)
    np.testing.assert_array_equal(matrix[2], [0, 0, 1, 0])
    np.testing.assert_allclose(matrix[:2, 2], 0, atol=1e-15)


@pytest.mark.parametrize("bad", [np.diag([-1.0, 1, 1, 1]), np.diag([0.0, 1, 1, 1]), np.full((4, 4), np.nan)])
def test_matrices_without_parameters_are_refused(bad):
    with pytest.raises(InputError, match="positive determinant"):
        to_parameters(bad, CENTRE, "affine")


def test_wrong_counts_and_models_are_refused():
    with pytest.raises(InputError, match="12 parameters"):
        from_parameters(np.zeros(6), CENTRE, "affine")
    with pytest.raises(InputError, match="model must be"):
        from_parameters(np.zeros(6), CENTRE, "projective")
