"""The analytic engine against autograd, for every loss, model and mapping, and the fused sums against both."""

import numpy as np
import phantoms
import pytest
import torch

from deformgan.kernels.affine_sums import affine_sums
from deformgan.kernels.threads import set_threads, threads_in_use
from deformgan.registration.affine_engines import AnalyticEngine, AutogradEngine, Motion, Scene
from deformgan.spatial.affine import PARAMETERS
from deformgan.spatial.grid import REVERSE
from deformgan.spatial.ranges import Mapping, Ranges

CENTRE = np.array([5.0, -8.0, 3.0])
TIGHT = Ranges(rotation=25.0, shift=(-40.0, 60.0), scale=(0.5, 1.6), shear=0.3)
LOSSES = ["l2", "cauchy", "ncc", "gc", "nmi", "mi", "l1", "lcc"]


def huber(warped, fixed):
    """A loss of a user's: value and derivative of each voxel."""
    d = warped - fixed
    small = d.abs() < 0.1
    return torch.where(small, d**2, 0.2 * d.abs() - 0.01), torch.where(small, 2 * d, 0.2 * d.sign())


def scene(dtype=torch.float64, planar=False, **extra):
    """An oblique anisotropic pair of unlike grids; one slice of it where `planar`."""
    rng = np.random.default_rng(3)
    fixed = phantoms.image(phantoms.OBLIQUE, phantoms.T1)
    moving = phantoms.image(phantoms.GRID, (0, 70, 20, 60, 90, 30))
    images = [(v.tensor / 100).to(dtype) for v in (fixed, moving)]
    maps = [fixed.geometry.matrix @ REVERSE, REVERSE @ moving.geometry.inverse]
    if planar:
        images = [image[26:27] for image in (images[1], images[1])]
        images[0] = images[0] + 0.05 * torch.from_numpy(rng.standard_normal(images[0].shape)).to(dtype)
        grid = np.diag([2.0, 3.5, 1.0, 1.0])  # x, y, z spacing
        maps = [grid @ REVERSE, REVERSE @ np.linalg.inv(grid)]
    return Scene(*images, *maps, **extra)


def motion(model, ranges):
    return Motion(model, CENTRE, Mapping.of(model, 50.0, ranges))


def numbers(model):
    return np.random.default_rng(1).normal(0, 4, PARAMETERS[model])


def agree(one, other, q, tolerance):
    (loss, slope), (loss_2, slope_2) = one(q), other(q)
    assert abs(loss - loss_2) <= tolerance * max(abs(loss_2), 1e-3)
    assert np.abs(slope_2).max() > 1e-6
    np.testing.assert_allclose(slope, slope_2, rtol=0, atol=tolerance * np.abs(slope_2).max())


@pytest.mark.parametrize("ranges", [Ranges(), TIGHT], ids=["free", "sigmoid"])
@pytest.mark.parametrize("model", ["translation", "rigid", "similarity", "affine"])
@pytest.mark.parametrize("loss", [*LOSSES, huber])
def test_both_engines_give_the_same_derivative(loss, model, ranges):
    pair = scene()
    engines = [engine(pair, motion(model, ranges), loss, 0.1) for engine in (AnalyticEngine, AutogradEngine)]
    agree(*engines, numbers(model), 1e-6)


@pytest.mark.parametrize("ranges", [Ranges(), TIGHT], ids=["free", "sigmoid"])
@pytest.mark.parametrize("model", ["rigid2d", "similarity2d", "scales2d"])
@pytest.mark.parametrize("loss", [*LOSSES, huber])
def test_both_engines_agree_on_a_slice(loss, model, ranges):
    pair = scene(planar=True)
    engines = [engine(pair, motion(model, ranges), loss, 0.1) for engine in (AnalyticEngine, AutogradEngine)]
    agree(*engines, numbers(model), 1e-6)


@pytest.mark.parametrize("loss", ["l2", "cauchy", "ncc", "gc", huber])
@pytest.mark.parametrize("border", [False, True])
def test_masks_and_borders_count_alike(loss, border):
    rng = np.random.default_rng(4)
    bare = scene()
    extra = {
        "weight": torch.from_numpy((rng.random(bare.fixed.shape) > 0.4).astype(float)),
        "seen": torch.from_numpy((rng.random(bare.moving.shape) > 0.2).astype(float)),
        "border": border,
    }
    pair = scene(**extra)
    engines = [engine(pair, motion("affine", Ranges()), loss, 0.1) for engine in (AnalyticEngine, AutogradEngine)]
    agree(*engines, numbers("affine"), 1e-6)
    assert (
        abs(
            engines[0](numbers("affine"))[0]
            - AnalyticEngine(bare, motion("affine", Ranges()), loss, 0.1)(numbers("affine"))[0]
        )
        > 1e-5
    )


@pytest.mark.parametrize("loss", [*LOSSES, huber])
@pytest.mark.parametrize("planar", [False, True])
def test_single_precision_follows_double(loss, planar):
    model = "scales2d" if planar else "affine"
    single, double = (
        AnalyticEngine(scene(dtype, planar), motion(model, TIGHT), loss, 0.1)
        for dtype in (torch.float32, torch.float64)
    )
    agree(single, double, numbers(model), 2e-3)


@pytest.mark.parametrize("loss", ["l2", "cauchy"])
def test_curvature_is_that_of_gauss_and_newton(loss):
    """Against the sum of the outer products of each voxel's derivative, by torch."""
    pair = scene()
    pose = pair.from_world @ motion("affine", Ranges()).matrix(numbers("affine")) @ pair.to_world
    found = affine_sums(pair.fixed.numpy(), pair.moving.numpy(), pose, loss, scale=0.1, curvature=True)
    leaf = torch.from_numpy(pose[:3].copy()).requires_grad_()
    from deformgan.registration.affine_engines import sampled_by_torch

    whole = torch.cat([leaf, leaf.new_tensor([[0, 0, 0, 1.0]])])
    warped, weight = sampled_by_torch(pair, whole)
    picked = torch.nonzero(weight.flatten())[::997, 0]
    jacobian = torch.stack(
        [torch.autograd.grad(warped.flatten()[k], leaf, retain_graph=True)[0].flatten() for k in picked]
    )
    residual = (warped - pair.fixed).flatten()[picked].detach()
    curve = 2 / (0.01 + residual**2) if loss == "cauchy" else torch.full_like(residual, 2.0)
    some = torch.zeros_like(pair.fixed).flatten()
    some[picked] = 1
    sparse = affine_sums(
        pair.fixed.numpy(),
        pair.moving.numpy(),
        pose,
        loss,
        scale=0.1,
        curvature=True,
        weight=some.view(pair.fixed.shape).numpy(),
    )
    expected = ((jacobian * curve[:, None]).T @ jacobian / len(picked)).detach().numpy()
    np.testing.assert_allclose(sparse.curvature, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    assert np.linalg.eigvalsh(found.curvature).min() > -1e-9 * np.abs(found.curvature).max()


def test_given_slopes_replace_the_interpolants_own():
    pair = scene()
    slopes = torch.stack([torch.full_like(pair.moving, v) for v in (0.3, -0.2, 0.1)])
    pose = np.eye(4)
    found = affine_sums(pair.fixed.numpy(), pair.moving.numpy(), pose, "l2", slopes=slopes.numpy())
    size = [min(a, b) for a, b in zip(pair.fixed.shape, pair.moving.shape, strict=True)]
    d = 2 * (pair.moving[: size[0], : size[1], : size[2]] - pair.fixed[: size[0], : size[1], : size[2]]).numpy()
    np.testing.assert_allclose(found.by_matrix[:, 3], [0.3 * d.mean(), -0.2 * d.mean(), 0.1 * d.mean()], rtol=1e-9)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("border", [False, True])
def test_samples_that_are_kept_give_what_one_pass_gives(given, border):
    """l2 as a function of the caller's, which takes the way of the losses that look at neighbours."""
    bare, rng = scene(), np.random.default_rng(5)
    images = {"weight": bare.fixed, "seen": bare.moving}
    extra = {name: torch.from_numpy((rng.random(i.shape) > 0.3).astype(float)) for name, i in images.items()}
    slopes = torch.from_numpy(rng.standard_normal((3, *bare.moving.shape))) if given else None
    pair = scene(slopes=slopes, border=border, **extra)
    losses = "l2", lambda warped, fixed: ((warped - fixed) ** 2, 2 * (warped - fixed))
    engines = [AnalyticEngine(pair, motion("affine", Ranges()), loss, 0.1) for loss in losses]
    agree(*engines, numbers("affine"), 1e-9)


@pytest.mark.parametrize("loss", [*LOSSES, huber])
def test_any_number_of_threads_gives_the_same_bits(loss):
    engine = AnalyticEngine(scene(torch.float32), motion("affine", Ranges()), loss, 0.1)
    before, found = threads_in_use(), []
    for threads in (1, 2):
        set_threads(threads)
        found.append(engine(numbers("affine")))
    set_threads(before)
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_a_constant_image_has_no_slope_and_nothing_seen_no_loss():
    flat = np.ones((6, 7, 8), np.float32)
    found = affine_sums(flat, flat, np.eye(4), "ncc")
    assert found.loss == 1 and not found.by_matrix.any()
    away = np.eye(4)
    away[:3, 3] = 100
    for loss in ("l2", "ncc"):
        found = affine_sums(flat, flat, away, loss)
        assert found.share == 0 and not found.by_matrix.any()
