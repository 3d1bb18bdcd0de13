"""Diffusion, bending and folding: what each is blind to, and what it costs a known displacement."""

import pytest
import torch

from deformgan.errors import InputError
from deformgan.similarity.smoothness import bending_loss, diffusion_loss, folding_loss


def polynomial(matrix, *, quadratic=0.0, product=0.0, shape=(6, 7, 8)):
    """u = matrix @ x + quadratic * (x_0^2, 0, ..) + product * (x_0 x_1, 0, ..), x in voxels; (1, d, *spatial)."""
    x = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij"))
    u = torch.einsum("ij,j...->i...", torch.as_tensor(matrix, dtype=torch.float64), x)
    u[0] += quadratic * x[0] ** 2 + product * x[0] * x[1]
    return u[None]


A = [[0.1, 0.2, 0.0], [0.0, -0.3, 0.0], [0.05, 0.0, 0.4]]


def test_a_shift_costs_nothing():
    u = torch.full((1, 3, 6, 7, 8), 2.5)
    assert float(diffusion_loss(u)) == float(bending_loss(u)) == float(folding_loss(u)) == 0


def test_diffusion_of_a_linear_map_is_the_square_of_its_matrix():
    assert float(diffusion_loss(polynomial(A))) == pytest.approx(float(torch.tensor(A).square().sum()))
    # In mm the matrix is S A S^-1.
    s = torch.diag(torch.tensor([3.0, 1.0, 0.5]))
    expected = float((s @ torch.tensor(A) @ s.inverse()).square().sum())
    assert float(diffusion_loss(polynomial(A), spacing=(3.0, 1.0, 0.5))) == pytest.approx(expected)


def test_bending_is_blind_to_affine_maps_and_counts_mixed_derivatives_twice():
    assert float(bending_loss(polynomial(A))) == pytest.approx(0, abs=1e-20)
    assert float(bending_loss(polynomial(A, quadratic=0.5))) == pytest.approx(1.0)
    assert float(bending_loss(polynomial(A, product=0.5))) == pytest.approx(0.5)
    # d2(3 u) / d(3 z) d(2 y) with u = z y / 2, and d2(3 u) / d(3 z)^2 with u = z^2 / 2.
    spacing = (3.0, 2.0, 1.0)
    assert float(bending_loss(polynomial(A, product=0.5), spacing=spacing)) == pytest.approx(2 * (0.5 / 2) ** 2)
    assert float(bending_loss(polynomial(A, quadratic=0.5), spacing=spacing)) == pytest.approx((1 / 3) ** 2)


def test_folding_counts_what_is_turned_inside_out():
    stretched = polynomial([[-1.5, 0.0], [0.0, 1.0]], shape=(6, 7))  # det = -0.5 * 2
    assert float(folding_loss(stretched)) == pytest.approx(1.0)
    shrunk = polynomial([[-0.5, 0.0], [0.0, 0.0]], shape=(6, 7))
    assert float(folding_loss(shrunk)) == 0
    assert float(folding_loss(shrunk, margin=0.75)) == pytest.approx(0.25)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 4), (2, 2, 5, 6)])
@pytest.mark.parametrize("loss", [diffusion_loss, bending_loss, folding_loss])
def test_gradcheck(loss, shape):
    u = 1.5 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(loss(u)) > 0
    assert torch.autograd.gradcheck(loss, (u.requires_grad_(),))


def test_what_is_no_displacement_is_refused():
    with pytest.raises(InputError, match=r"\(B, d, \*spatial\)"):
        diffusion_loss(torch.zeros(1, 2, 5, 5, 5))
    with pytest.raises(InputError, match="3 voxels or more"):
        bending_loss(torch.zeros(1, 2, 2, 5))
    with pytest.raises(InputError, match="3 positive numbers of mm"):
        diffusion_loss(torch.zeros(1, 3, 5, 5, 5), spacing=(1.0, 0.0, 1.0))
