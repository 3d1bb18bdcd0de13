"""L1, L2 and Cauchy: known values, and derivatives per voxel against autograd."""

import math

import pytest
import torch

from deformgan.similarity.pointwise import cauchy, cauchy_loss, l1, l1_loss, l2, l2_loss

LOSSES = [(l1, l1_loss), (l2, l2_loss), (cauchy, cauchy_loss)]


@pytest.mark.parametrize(("loss", "value"), [(l1_loss, 3.0), (l2_loss, 9.0), (cauchy_loss, math.log(10))])
def test_of_a_constant_difference(loss, value):
    fixed = torch.randn((2, 1, 5, 6, 7), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(loss(fixed - 3, fixed)) == pytest.approx(value)
    assert float(loss(fixed, fixed)) == 0


def test_cauchy_scale_is_the_unit_of_intensity():
    one, three = torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 3.0)
    assert float(cauchy_loss(three, one, scale=2.0)) == pytest.approx(math.log(2))


@pytest.mark.parametrize(("voxelwise", "loss"), LOSSES)
def test_the_derivative_is_that_of_the_value(voxelwise, loss):
    warped, fixed = torch.randn((2, 1, 1, 6, 7), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    leaf = warped.clone().requires_grad_()
    value, slope = voxelwise(leaf, fixed)
    (expected,) = torch.autograd.grad(value.sum(), leaf)
    torch.testing.assert_close(slope.detach(), expected)
    assert torch.autograd.gradcheck(lambda w: loss(w, fixed), (leaf,))
    assert float(voxelwise(fixed, fixed)[1].abs().max()) == 0


@pytest.mark.parametrize(("_", "loss"), LOSSES)
def test_masks_choose_the_voxels_of_each_image(_, loss):
    warped, fixed = torch.randn((2, 2, 1, 6, 7), generator=torch.Generator().manual_seed(0))
    mask, weight = torch.zeros(2, 1, 6, 7), torch.ones(1, 1, 6, 7)
    mask[0, :, :3], mask[1, :, :, :2], weight[..., 2:, :] = 1, 1, 0
    parts = (loss(warped[:1, :, :2], fixed[:1, :, :2]), loss(warped[1:, :, :2, :2], fixed[1:, :, :2, :2]))
    assert float(loss(warped, fixed, mask=mask, weight=weight)) == pytest.approx(float(sum(parts)) / 2)
    assert float(loss(warped, fixed, mask=torch.zeros_like(mask))) == 0
