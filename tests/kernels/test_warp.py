"""The compiled warp against its twin in torch, and its adjoint."""

import numba
import numpy as np
import pytest
import torch

from deformgan.kernels.lattice import adjoint, lattice_weights
from deformgan.kernels.warp import resize, warp_composed
from deformgan.spatial.field import resize_reference
from deformgan.spatial.warp import warp_through_reference

SHAPE = (14, 17, 19)
OBLIQUE = np.array([[0.9, 0.1, 0.05, 1.2], [-0.12, 1.1, 0.1, -1.7], [0.05, -0.2, 0.95, 0.6]])
AXES_SWAPPED = np.array([[0, 0, 0.8, 0.3], [0, -1.1, 0, 16.2], [1.2, 0, 0, -0.4]])


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(image, matrix, u, shape=SHAPE, **options):
    out, slope = np.empty(shape, np.float32), np.empty((3, *shape), np.float32)
    inside = np.empty(shape, np.bool_)
    warp_composed(image, matrix, u, out, gradient=slope, inside=inside, **options)
    return out, slope, inside


@pytest.mark.parametrize("matrix", [OBLIQUE, AXES_SWAPPED])
@pytest.mark.parametrize(("factor", "nodes"), [(1, SHAPE), (2, (7, 9, 10)), (3, (5, 6, 7)), (2, SHAPE)])
@pytest.mark.parametrize("outside", [-3.0, "border"])
def test_values_slopes_and_inside_are_those_of_the_twin(matrix, factor, nodes, outside):
    image, u, g = random(11, 20, 16), 1.5 * random(3, *nodes, seed=1), random(*SHAPE, seed=2)
    options = {"border": True} if outside == "border" else {"outside": outside}
    out, slope, inside = run(image, matrix, u, factors=(factor,) * 3, **options)
    lattice = torch.from_numpy(u)[None].double().requires_grad_()
    twin, valid = warp_through_reference(
        torch.from_numpy(image)[None, None].double(), matrix, lattice, (factor,) * 3, SHAPE, outside=outside
    )
    assert 0.2 < inside.mean() < 1
    np.testing.assert_array_equal(inside, valid[0, 0])
    np.testing.assert_allclose(out, twin[0, 0].detach(), atol=3e-5)
    by_twin = torch.autograd.grad(twin, lattice, torch.from_numpy(g).double()[None, None])[0][0]
    np.testing.assert_allclose(adjoint(slope, (factor,) * 3, nodes, g), by_twin, atol=3e-4)


def test_no_displacement_is_a_displacement_of_zero():
    image = random(11, 20, 16)
    for with_none, with_zero in zip(
        run(image, OBLIQUE, None), run(image, OBLIQUE, np.zeros((3, *SHAPE), np.float32)), strict=True
    ):
        np.testing.assert_array_equal(with_none, with_zero)


def test_whole_voxel_shift_is_exact():
    image, u = random(*SHAPE), np.zeros((3, *SHAPE), np.float32)
    u[0], u[2] = 2, -3
    out, _, inside = run(image, np.eye(4), u, outside=9.0)
    np.testing.assert_array_equal(out[:-2, :, 3:], image[2:, :, :-3])
    assert (out[-2:] == 9).all() and (out[:, :, :3] == 9).all()
    assert inside.sum() == (SHAPE[0] - 2) * SHAPE[1] * (SHAPE[2] - 3)


def test_non_finite_and_huge_displacements_stay_within_the_arrays():
    u = np.zeros((3, *SHAPE), np.float32)
    u[0, 3], u[1, 4], u[2, 5] = np.nan, 1e30, -np.inf
    out, _, inside = run(random(*SHAPE), np.eye(4), u, outside=9.0)
    np.testing.assert_array_equal(out[6:], run(random(*SHAPE), np.eye(4), None)[0][6:])
    assert not inside[4:6].any() and (out[4:6] == 9).all()


def test_adjoint_of_the_lattice_is_exact():
    nodes, factors = (5, 9, 10), (3, 2, 2)
    coarse, dense = random(3, *nodes).astype(np.float64), random(3, *SHAPE, seed=1)
    fine = coarse
    for axis, (n, m, f) in enumerate(zip(SHAPE, nodes, factors, strict=True), start=1):
        index, weight = lattice_weights(n, m, f)
        w = weight.reshape([-1 if a == axis else 1 for a in range(4)])
        above = np.minimum(index + 1, m - 1)
        fine = (1 - w) * fine.take(index, axis) + w * fine.take(above, axis)
    assert np.vdot(coarse, adjoint(dense, factors, nodes)) == pytest.approx(np.vdot(fine, dense), rel=1e-5)


@pytest.mark.parametrize("shape", [(28, 34, 38), (9, 25, 19), (7, 5, 30)])
def test_resize_is_its_twin(shape):
    u = random(3, *SHAPE)
    np.testing.assert_allclose(resize(u, shape), resize_reference(torch.from_numpy(u)[None], shape)[0], atol=2e-5)


def test_one_thread_and_two_give_the_same_bytes():
    image, u, g = random(*SHAPE), random(3, 7, 9, 10, seed=1), random(*SHAPE, seed=2)
    threads, results = numba.get_num_threads(), []
    for n in (1, min(2, threads)):
        numba.set_num_threads(n)
        out, slope, _ = run(image, OBLIQUE, u, factors=(2, 2, 2))
        results.append((out.tobytes(), slope.tobytes(), adjoint(slope, (2, 2, 2), (7, 9, 10), g).tobytes()))
    numba.set_num_threads(threads)
    assert results[0] == results[1]


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="gradient"):
        warp_composed(random(*SHAPE), np.eye(4), None, random(*SHAPE), gradient=random(3, 4, 5, 6))
