"""register_affine recovers planted maps in 2-D and 3-D, with any engine, loss and optimiser."""

from pathlib import Path

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import torch

import deformgan
from deformgan import register_affine
from deformgan.errors import InputError, RegistrationError
from deformgan.registration.affine_fit import AffineOptions
from deformgan.registration.magnified import magnified
from deformgan.spatial.affine import from_parameters
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.ranges import Ranges

CENTRE = np.zeros(3)
PLANTED = np.array([0.12, -0.1, 0.15, 6, -7, 5, 0.06, -0.05, 0.04, 0.03, 0, -0.02])
SLICE = sitk.GetArrayFromImage(
    sitk.ReadImage(str(Path(__file__).parents[2] / "data" / "sts" / "STS_051_MR_T1.nii.gz"), sitk.sitkFloat32)
)[24]


def errors(fit, matrix, geometry):
    points = voxel_points(geometry)
    points = points[np.linalg.norm(points / [62, 74, 66], axis=-1) < 0.75]
    there = np.c_[points, np.ones(len(points))]
    return np.linalg.norm(there @ (fit.matrix - matrix)[:3].T, axis=1)


@pytest.fixture(scope="module")
def planted():
    """(matrix, fixed T1, moving by contrast)."""
    matrix = from_parameters(PLANTED, CENTRE, "affine")
    back = np.linalg.inv(matrix)
    fixed = phantoms.image(phantoms.GRID, phantoms.T1)
    moving = {
        name: phantoms.image(phantoms.OBLIQUE.padded(4), contrast, lambda x: x @ back[:3, :3].T + back[:3, 3])
        for name, contrast in (("T1", phantoms.T1), ("T2", phantoms.T2))
    }
    return matrix, fixed, moving


@pytest.mark.parametrize(
    ("loss", "contrast", "optimiser", "engine"),
    [
        ("l2", "T1", "auto", "analytic"),
        ("cauchy", "T1", "auto", "analytic"),
        ("l2", "T1", "lbfgs", "analytic"),
        ("ncc", "T1", "lbfgs", "analytic"),
        ("ncc", "T1", "lbfgs", "autograd"),
        ("ncc", "T1", "adam", "analytic"),
        ("gc", "T1", "lbfgs", "analytic"),
        ("nmi", "T2", "lbfgs", "analytic"),
        ("nmi", "T2", "rprop", "analytic"),
        ("mi", "T2", "adam", "autograd"),
    ],
)
def test_a_planted_affine_map_is_found(planted, loss, contrast, optimiser, engine):
    matrix, fixed, moving = planted
    options = AffineOptions(optimiser=optimiser, levels=(2.0, 1.0))
    fit = register_affine(fixed, moving[contrast], loss=loss, engine=engine, options=options)
    assert errors(fit, np.eye(4), fixed.geometry).mean() > 10
    assert errors(fit, matrix, fixed.geometry).mean() < 1.0  # voxels are 3 mm


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam", "rprop"])
def test_the_unit_of_length_changes_nothing(planted, optimiser):
    _, fixed, moving = planted
    options = AffineOptions(optimiser=optimiser, levels=(2.0,))
    ends = []
    for times in (0.05, 1e-4):  # a mouse; micrometres
        small = (magnified(image, times) for image in (fixed, moving["T1"]))
        matrix = register_affine(*small, options=options).matrix
        matrix[:3, 3] /= times
        ends.append(matrix)
    np.testing.assert_allclose(*ends, rtol=0, atol=0.1)  # mm in a head


@pytest.mark.parametrize("slopes", ["gaussian", lambda image: torch.stack(torch.gradient(image[0, 0]))])
def test_other_slopes_lead_there_too(planted, slopes):
    matrix, fixed, moving = planted
    fit = register_affine(fixed, moving["T1"], loss="l2", options=AffineOptions(slopes=slopes))
    assert errors(fit, matrix, fixed.geometry).mean() < 1.5


def huber(warped, fixed, width=0.05):
    d = warped - fixed
    small = d.abs() < width
    value = torch.where(small, d.square() / 2, width * (d.abs() - width / 2))
    return value, torch.where(small, d, width * d.sign())


def test_a_loss_of_the_users_own(planted):
    matrix, fixed, moving = planted
    for engine in ("analytic", "autograd"):
        fit = register_affine(fixed, moving["T1"], loss=huber, engine=engine)
        assert errors(fit, matrix, fixed.geometry).mean() < 1.0


@pytest.mark.parametrize("model", ["rigid", "similarity"])
def test_fewer_parameters_find_their_own_kind(planted, model):
    _, fixed, _ = planted
    p = PLANTED[:6] if model == "rigid" else PLANTED[:7]
    matrix = from_parameters(p, CENTRE, model)
    back = np.linalg.inv(matrix)
    moving = phantoms.image(phantoms.OBLIQUE, phantoms.T1, lambda x: x @ back[:3, :3].T + back[:3, 3])
    fit = register_affine(fixed, moving, model=model, centre=CENTRE)
    np.testing.assert_allclose(fit.parameters[:3], p[:3], atol=0.01)
    np.testing.assert_allclose(fit.parameters[3:6], p[3:6], atol=0.7)
    np.testing.assert_allclose(fit.centre, CENTRE)


@pytest.mark.parametrize(
    ("model", "p"),
    [("rigid2d", [0.2, 6, -5]), ("similarity2d", [0.2, 6, -5, 0.08]), ("scales2d", [-0.15, 4, 5, 0.1, -0.06])],
)
@pytest.mark.parametrize("engine", ["analytic", "autograd"])
def test_a_real_slice_turned_in_its_plane(model, p, engine):
    matrix = from_parameters(np.array(p, float), np.array([60.0, 60, 0]), model)
    fixed = sitk.GetImageFromArray(SLICE)
    way = sitk.AffineTransform(2)  # the moving image's point -> where the fixed one is read
    back = np.linalg.inv(matrix)
    way.SetMatrix(back[:2, :2].ravel())
    way.SetTranslation(back[:2, 3])
    moving = sitk.GetArrayFromImage(sitk.Resample(fixed, fixed, way, sitk.sitkLinear, 0.0))
    fit = register_affine(SLICE, moving, model=model, engine=engine, loss="ncc")
    y, x = np.nonzero(SLICE.mean() < SLICE)
    points = np.stack([x, y, np.zeros_like(x), np.ones_like(x)], 1)
    assert np.linalg.norm(points @ (fit.matrix - matrix)[:2].T, axis=1).mean() < 0.3


def test_ranges_hold_the_result_inside(planted):
    _, fixed, moving = planted
    ranges = Ranges(rotation=4.0, shift=5.0, scale=1.03, shear=0.02)
    fit = register_affine(fixed, moving["T1"], ranges=ranges)
    low, high = ranges.limits("affine")
    assert (fit.parameters > low).all() and (fit.parameters < high).all()
    assert np.abs(fit.parameters[:6] / high[:6]).max() > 0.8


def test_history_tells_the_walk(planted):
    _, fixed, moving = planted
    fit = register_affine(fixed, moving["T1"])
    levels = [step.level_mm for step in fit.history]
    assert levels == sorted(levels, reverse=True) and len(set(levels)) == 3
    finest = [step for step in fit.history if step.level_mm == levels[-1]]
    assert finest[0].loss >= finest[-1].loss
    assert finest[-1].moved_mm < 0.01 or len(finest) == 100
    seconds = [step.seconds for step in fit.history]
    assert seconds == sorted(seconds)
    np.testing.assert_array_equal(fit.history[-1].parameters, fit.parameters)


def test_the_result_serves_warp(planted):
    _, fixed, moving = planted
    fit = register_affine(fixed, moving["T1"])
    warped = deformgan.warp(moving["T1"], fit.transform, fixed)
    assert np.corrcoef(warped.numpy().ravel(), fixed.numpy().ravel())[0, 1] > 0.95


def test_the_same_call_gives_the_same_bits(planted):
    _, fixed, moving = planted
    one, other = (register_affine(fixed, moving["T1"], loss="nmi").matrix for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"engine": "symbolic"}, "engine must be"),
        ({"model": "projective"}, "model must be"),
        ({"model": "rigid2d"}, "does not suit"),
        ({"loss": "nccc"}, "did you mean"),
        ({"options": AffineOptions(optimiser="newton")}, "optimiser must be"),
        ({"engine": "autograd", "options": AffineOptions(optimiser="lm")}, "analytic"),
        ({"loss": "ncc", "options": AffineOptions(optimiser="lm")}, "l2 or cauchy"),
        ({"ranges": Ranges(shift=1.0), "start": from_parameters(PLANTED, CENTRE, "affine")}, "outside the ranges"),
    ],
)
def test_what_cannot_be_used_is_refused(planted, wrong, message):
    _, fixed, moving = planted
    with pytest.raises(InputError, match=message):
        register_affine(fixed, moving["T1"], **wrong)


def test_images_that_do_not_meet_are_refused(planted):
    _, fixed, moving = planted
    away = np.eye(4)
    away[:3, 3] = 900
    with pytest.raises(RegistrationError, match="lies inside"):
        register_affine(fixed, moving["T1"], start=away, options=AffineOptions(levels=(1.0,)))
