"""Determinants with exact answers."""

import numpy as np
import pytest
import torch

from deformgan.errors import InputError
from deformgan.spatial.jacobian import jacobian_determinant, jacobian_determinant_reference, regularity
from deformgan.spatial.warp import voxel_indices


def linear_field(matrix, shape):
    points = voxel_indices(shape, like=matrix)
    return torch.einsum("ij,j...->i...", matrix - torch.eye(len(shape), dtype=matrix.dtype), points)[None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [2, 3])
def test_determinant_of_a_linear_map_is_that_of_its_matrix(d, dtype):
    matrix = torch.tensor([[0.9, 0.3, -0.2], [-0.1, 1.2, 0.4], [0.25, 0.0, 0.8]], dtype=dtype)[:d, :d]
    determinant = jacobian_determinant(linear_field(matrix, (6, 7, 8)[:d]))
    torch.testing.assert_close(determinant, torch.linalg.det(matrix).expand_as(determinant), atol=1e-5, rtol=1e-5)


def test_compiled_is_the_twin_and_numpy_gradient():
    u = torch.randn(2, 3, 6, 2, 8)
    determinant = jacobian_determinant(u)
    torch.testing.assert_close(determinant, jacobian_determinant_reference(u), atol=1e-5, rtol=1e-5)
    slopes = np.array([np.gradient(component) for component in u[1].double().numpy()])
    expected = np.linalg.det(np.moveaxis(slopes, (0, 1), (-2, -1)) + np.eye(3))
    np.testing.assert_allclose(determinant[1, 0], expected, atol=1e-4)


def test_gradcheck():
    u = 0.3 * torch.randn(1, 3, 3, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(jacobian_determinant, u.requires_grad_())


def test_regularity_counts_folds_in_the_mask_alone():
    u = torch.zeros(1, 3, 10, 10, 10)
    assert regularity(u) == {"folding_percent": 0, "min_jacobian": 1, "max_jacobian": 1, "sd_log_jacobian": 0}
    u[0, 2, :, :, 5:] = -3.0 * torch.arange(5.0)  # x -> 5 - 2 (x - 5) from x = 5 on
    mask = torch.zeros(1, 1, 10, 10, 10, dtype=torch.bool)
    mask[..., :4] = True
    assert regularity(u)["folding_percent"] == pytest.approx(50)
    assert regularity(u)["min_jacobian"] == -2
    assert regularity(u, mask)["folding_percent"] == 0


def test_sd_of_the_logarithm_of_two_halves():
    u = torch.zeros(1, 3, 4, 4, 40)
    u[0, 2, :, :, 20:] = torch.arange(20.0)  # stretched twofold in the upper half
    mask = torch.ones(1, 1, 4, 4, 40, dtype=torch.bool)
    mask[..., 19:21] = False
    mask[..., :2] = False
    share = 19 / 36
    expected = np.log(2) * np.sqrt(share * (1 - share))
    assert regularity(u, mask)["sd_log_jacobian"] == pytest.approx(expected, rel=0.01)


def test_refusals():
    with pytest.raises(InputError, match="two voxels"):
        jacobian_determinant(torch.zeros(1, 3, 1, 5, 5))
    with pytest.raises(InputError, match="empty"):
        regularity(torch.zeros(1, 3, 5, 5, 5), torch.zeros(1, 1, 5, 5, 5, dtype=torch.bool))
