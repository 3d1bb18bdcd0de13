"""Composition, inversion, exponential and resizing, with exact answers and against plain torch."""

import numba
import pytest
import torch

from deformgan.errors import InputError
from deformgan.spatial.field import compose, compose_reference, exponential, invert, resize, resize_reference
from deformgan.spatial.pyramid import gaussian_smooth
from deformgan.spatial.warp import voxel_indices


def smooth_field(*shape, size=1.5, sigma=3.0, seed=0, batch=1, dtype=torch.float32):
    noise = torch.randn(batch, len(shape), *shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    field = gaussian_smooth(noise, sigma)
    return size * field / field.std()


def linear_field(matrix, shape):
    """u(x) = (M - 1)(x - c), c the centre of the grid."""
    centre = (torch.tensor(shape, dtype=matrix.dtype) - 1) / 2
    points = voxel_indices(shape, like=matrix) - centre.reshape(-1, *[1] * len(shape))
    return torch.einsum("ij,j...->i...", matrix - torch.eye(len(shape), dtype=matrix.dtype), points)[None]


def test_composed_translations_add_and_zero_is_neutral():
    a, b = (torch.tensor(t).reshape(1, 3, 1, 1, 1).expand(1, 3, 8, 9, 10) for t in ([1.0, -2, 0.5], [0.25, 3, 1]))
    torch.testing.assert_close(compose(a, b), a + b)
    u, zero = smooth_field(8, 9, 10), torch.zeros(1, 3, 8, 9, 10)
    torch.testing.assert_close(compose(u, zero), u)
    torch.testing.assert_close(compose(zero, u), u)


def test_composed_linear_maps_multiply_in_the_right_order():
    first = torch.tensor([[0.9, 0.05, 0], [-0.1, 0.95, 0.05], [0.02, 0, 0.9]])
    then = torch.tensor([[1.1, 0, 0.1], [0, 0.9, 0], [0.05, -0.1, 1.0]])
    shape = (12, 13, 14)
    composed = compose(linear_field(then, shape), linear_field(first, shape))
    middle = (..., slice(2, -2), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(composed[middle], linear_field(then @ first, shape)[middle], atol=1e-5, rtol=1e-4)


def test_compiled_composition_and_its_gradients_are_those_of_the_twin():
    u, v = (smooth_field(11, 12, 13, batch=2, seed=s) for s in (0, 1))
    weight, results = torch.randn(2, 3, 11, 12, 13), []
    for function, dtype in ((compose, torch.float32), (compose_reference, torch.float64)):
        fields = [t.to(dtype).requires_grad_() for t in (u.clone(), v.clone())]
        composed = function(*fields)
        gradients = torch.autograd.grad((composed * weight).sum(), fields)
        results.append([t.detach().double() for t in (composed, *gradients)])
    for compiled, twin in zip(*results, strict=True):
        torch.testing.assert_close(compiled, twin, atol=1e-4, rtol=1e-4)


def test_gradcheck_of_the_twin():
    for shape in ((5, 6), (4, 5, 4)):
        fields = [smooth_field(*shape, size=0.6, seed=s, dtype=torch.float64).requires_grad_() for s in (0, 1)]
        assert torch.autograd.gradcheck(compose_reference, fields, nondet_tol=1e-12)


@pytest.mark.parametrize(("shape", "dtype"), [((16, 17, 18), torch.float32), ((24, 25), torch.float64)])
def test_composition_with_the_inverse_is_the_identity(shape, dtype):
    u = smooth_field(*shape, size=0.8, sigma=4.0, dtype=dtype)
    inverse, residual = invert(u, iterations=100, tolerance=1e-4)
    assert float(residual.max()) < 2e-4
    torch.testing.assert_close(compose(u, inverse).norm(dim=1, keepdim=True), residual, atol=1e-5, rtol=0)
    assert float(inverse.norm(dim=1).max()) > 0.5


def test_inverse_of_an_expansion_the_plain_fixed_point_cannot_find():
    shape = (20, 20, 20)
    inverse, residual = invert(linear_field(2.6 * torch.eye(3), shape), iterations=200)
    assert float(residual.max()) < 2e-3
    torch.testing.assert_close(inverse, linear_field(torch.eye(3) / 2.6, shape), atol=2e-3, rtol=0)


def test_residual_tells_of_a_field_that_folds_everywhere():
    u = smooth_field(14, 15, 16, size=5.0, sigma=0.8)
    inverse, residual = invert(u)
    torch.testing.assert_close(compose(u, inverse).norm(dim=1, keepdim=True), residual, atol=1e-4, rtol=1e-4)
    assert float(residual.max()) > 1


def test_exponential_of_a_constant_and_of_a_linear_field():
    constant = torch.full((1, 3, 8, 9, 10), 0.7)
    torch.testing.assert_close(exponential(constant), constant)
    generator = torch.tensor([[0.1, 0.2, 0], [-0.2, 0.05, 0.0], [0, 0.1, -0.1]], dtype=torch.float64)
    shape = (21, 21, 21)
    flow = exponential(linear_field(generator + torch.eye(3), shape), steps=12)
    middle = (..., slice(6, -6), slice(6, -6), slice(6, -6))
    expected = linear_field(torch.linalg.matrix_exp(generator), shape)
    torch.testing.assert_close(flow[middle], expected[middle], atol=2e-3, rtol=0)


def test_exponential_of_the_negative_is_the_inverse_and_it_has_a_gradient():
    velocity = smooth_field(14, 15, 16, size=1.0, sigma=3.0).requires_grad_()
    there, back = exponential(velocity), exponential(-velocity)
    assert float(compose(there, back).detach().norm(dim=1)[:, 3:-3, 3:-3, 3:-3].max()) < 0.1
    weight = torch.randn(there.shape, generator=torch.Generator().manual_seed(2))
    gradient = torch.autograd.grad((there * weight).sum(), velocity)[0]
    twin = velocity.detach().double().requires_grad_()
    by_twin = torch.autograd.grad((exponential(twin) * weight).sum(), twin)[0]
    torch.testing.assert_close(gradient.double(), by_twin, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resize_keeps_a_linear_map_over_the_same_field_of_view(dtype):
    matrix = torch.diag(torch.tensor([1.1, 0.8, 1.2], dtype=dtype))
    resized = resize(linear_field(matrix, (8, 10, 12)), (16, 20, 6))
    middle = (..., slice(2, -2), slice(2, -2), slice(1, -1))
    torch.testing.assert_close(resized[middle], linear_field(matrix, (16, 20, 6))[middle], atol=1e-5, rtol=1e-5)


def test_resize_compiled_is_its_twin_and_two_dimensions_scale_the_right_component():
    u = smooth_field(8, 9, 10, batch=2)
    torch.testing.assert_close(resize(u, (13, 9, 5)), resize_reference(u, (13, 9, 5)), atol=1e-5, rtol=1e-5)
    flat = torch.ones(1, 2, 4, 5)
    assert resize(flat, (8, 5))[0, :, 0, 0].tolist() == [2, 1]


def test_one_thread_and_two_give_the_same_bytes():
    threads, results = numba.get_num_threads(), []
    for n in (1, min(2, threads)):
        numba.set_num_threads(n)
        u = smooth_field(19, 12, 13, size=3.0).requires_grad_()
        flow = exponential(u)
        gradient = torch.autograd.grad(flow.square().sum(), u)[0]
        results.append([t.detach().numpy().tobytes() for t in (flow, gradient, *invert(u))])
    numba.set_num_threads(threads)
    assert results[0] == results[1]


def test_fields_on_two_grids_are_refused():
    with pytest.raises(InputError, match="one grid"):
        compose(torch.zeros(1, 3, 8, 9, 10), torch.zeros(1, 3, 8, 9, 11))
    with pytest.raises(InputError, match="components"):
        invert(torch.zeros(1, 2, 8, 9, 11))
