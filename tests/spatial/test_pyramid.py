"""Smoothing and shrinking: what is kept, and where it stays."""

import pytest
import torch

from deformgan.errors import InputError
from deformgan.spatial.pyramid import gaussian_smooth, gaussian_smooth_reference, shrunk_shape, smooth_and_shrink
from deformgan.spatial.warp import voxel_indices


@pytest.mark.parametrize("factors", [(2, 2, 2), (1, 2, 3.5), (4, 1, 1.3)])
def test_a_constant_stays_and_a_ramp_keeps_its_place(factors):
    shape = (24, 26, 28)
    small = smooth_and_shrink(torch.full((1, 1, *shape), 3.0), factors)
    assert tuple(small.shape[2:]) == shrunk_shape(shape, factors)
    torch.testing.assert_close(small, torch.full_like(small, 3.0))
    ramp = voxel_indices(shape, like=torch.zeros(1, dtype=torch.float64))[None]
    for axis, (n, m) in enumerate(zip(shape, small.shape[2:], strict=True)):
        line = smooth_and_shrink(ramp, factors)[0, axis].movedim(axis, 0).flatten(1)[:, 0]
        centres = (torch.arange(m, dtype=torch.float64) + 0.5) * n / m - 0.5
        torch.testing.assert_close(line[2:-2], centres[2:-2], atol=0.02, rtol=0)


def test_factors_of_one_change_nothing_and_a_short_axis_keeps_one_voxel():
    image = torch.rand(1, 1, 5, 6, 7)
    torch.testing.assert_close(smooth_and_shrink(image, (1, 1, 1)), image)
    assert smooth_and_shrink(image, (20, 2, 2)).shape == (1, 1, 1, 3, 4)


def test_stripes_finer_than_the_new_grid_are_averaged_away():
    image = torch.zeros(1, 1, 16, 16, 32)
    image[..., ::2] = 1
    assert float((smooth_and_shrink(image, (1, 1, 4))[..., 1:-1] - 0.5).abs().max()) < 0.01


def test_gradient_of_the_smoothing_is_that_of_the_twin():
    image, weight = torch.randn(2, 3, 9, 10, 11), torch.randn(2, 3, 9, 10, 11)
    results = []
    for function, dtype in ((gaussian_smooth, torch.float32), (gaussian_smooth_reference, torch.float64)):
        leaf = image.to(dtype, copy=True).requires_grad_()
        smoothed = function(leaf, (1.0, 2.0, 0.7))
        results.append((smoothed.detach().double(), torch.autograd.grad((smoothed * weight).sum(), leaf)[0].double()))
    for compiled, twin in zip(*results, strict=True):
        torch.testing.assert_close(compiled, twin, atol=1e-5, rtol=1e-5)


def test_two_dimensions_and_gradcheck():
    image = torch.randn(1, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: gaussian_smooth(t, 1.2), image)
    assert torch.autograd.gradcheck(lambda t: smooth_and_shrink(t, (2, 2)), image)


def test_refusals():
    with pytest.raises(InputError, match="sigma"):
        gaussian_smooth(torch.zeros(1, 1, 5, 5, 5), (1, 2))
    with pytest.raises(InputError, match="factors"):
        smooth_and_shrink(torch.zeros(1, 1, 5, 5, 5), (0.5, 1, 1))
