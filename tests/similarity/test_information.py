"""MI and NMI: known values, invariances, and the compiled histogram against its twin in torch."""

import math

import numba
import numpy as np
import pytest
import torch

from deformgan.errors import InputError
from deformgan.kernels.parzen import histogram_derivative, joint_histogram
from deformgan.similarity.information import MutualInformation, mi_loss, nmi_loss


def a_pair(shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    warped = torch.randn(shape, generator=generator, dtype=torch.float64)
    fixed = warped**2 + 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return (100 + 40 * warped).to(dtype), fixed.to(dtype)


@pytest.mark.parametrize("shape", [(2, 1, 12, 13, 14), (2, 1, 30, 41)])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_compiled_is_its_twin(shape, normalised, weighted):
    warped, fixed = a_pair(shape)
    mask, weight = torch.rand((2, *shape), generator=torch.Generator().manual_seed(1)) if weighted else (None, None)
    options = {"mask": mask, "normalised": normalised, "warped_range": (20.0, 200.0)}
    value, slope = MutualInformation(fixed, **options).with_derivative(warped, weight)
    twin = MutualInformation(fixed.double(), **options).with_derivative(warped.double(), weight)
    assert value == pytest.approx(twin[0], abs=1e-5)
    torch.testing.assert_close(slope.double(), twin[1], rtol=1e-4, atol=1e-5 * float(twin[1].abs().max()))


@pytest.mark.parametrize("shape", [(1, 1, 4, 5, 6), (2, 1, 6, 7)])
@pytest.mark.parametrize("loss", [mi_loss, nmi_loss])
def test_gradcheck_of_the_twin(shape, loss):
    warped, fixed = a_pair(shape, torch.float64)
    mask, weight = torch.rand((2, *shape), generator=torch.Generator().manual_seed(1))
    options = {"bins": 8, "mask": mask, "weight": weight, "warped_range": (-200.0, 400.0)}
    assert torch.autograd.gradcheck(
        lambda w: loss(w, fixed, **options), (warped.requires_grad_(),), rtol=1e-4, fast_mode=True
    )


def test_two_values_that_go_together_share_one_bit():
    fixed = (torch.arange(4096).view(1, 1, 16, 16, 16) % 2).float()
    assert float(mi_loss(7 - 3 * fixed, fixed)) == pytest.approx(-math.log(2), abs=1e-4)
    assert float(mi_loss(fixed.roll(1, -2).roll(1, -3), fixed.permute(0, 1, 4, 3, 2).contiguous())) == pytest.approx(
        0, abs=1e-4
    )


def test_mi_is_blind_to_gain_and_sign_and_sees_any_relation():
    warped, fixed = a_pair((1, 1, 20, 20, 20))
    related, unrelated = float(mi_loss(warped, fixed)), float(mi_loss(warped, fixed.flip(-1)))
    assert related < unrelated - 0.3
    for gain in (2, -0.01):
        assert float(mi_loss(gain * warped + 5, fixed)) == pytest.approx(related, abs=2e-3)
    assert 0 < float(nmi_loss(warped, fixed)) < float(nmi_loss(warped, fixed.flip(-1))) <= 1


def test_what_is_masked_does_not_count():
    warped, fixed = a_pair((1, 1, 10, 10, 20))
    half = torch.zeros_like(fixed)
    half[..., :12] = 1
    options = {"warped_range": (0.0, 250.0)}
    fixed[..., 0] = fixed.min()  # so that both have the same bins
    fixed[..., 1] = fixed.max()
    part = mi_loss(warped[..., :12], fixed[..., :12], **options)
    assert float(mi_loss(warped, fixed, mask=half, **options)) == pytest.approx(float(part), abs=1e-5)
    assert float(MutualInformation(fixed, **options).with_derivative(warped, half)[1][..., 12:].abs().max()) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", [mi_loss, nmi_loss])
def test_flat_images_are_independent_and_have_no_slope(loss, dtype):
    noise = torch.randn((1, 1, 10, 11, 12), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    flat = torch.full_like(noise, -1000.1)
    for warped, fixed in ((flat, noise), (noise, flat), (flat, flat)):
        leaf = warped.clone().requires_grad_()
        value = loss(leaf, fixed)
        value.backward()
        assert float(value.detach()) == pytest.approx(0 if loss is mi_loss else 1, abs=1e-6)
        assert bool(leaf.grad.isfinite().all()) and float(leaf.grad.abs().max()) < 1e-6
    empty = loss(noise, noise, mask=torch.zeros_like(noise))
    assert bool(empty.isfinite())


def test_same_bits_for_any_number_of_threads():
    warped, fixed = a_pair((1, 1, 30, 10, 12))
    before, results = numba.get_num_threads(), []
    for threads in {1, numba.config.NUMBA_NUM_THREADS}:
        numba.set_num_threads(threads)
        results.append(MutualInformation(fixed).with_derivative(warped))
    numba.set_num_threads(before)
    assert all(value == results[0][0] and torch.equal(slope, results[0][1]) for value, slope in results)


def test_a_wrong_number_of_bins_is_refused():
    with pytest.raises(InputError, match="bins: expected 4 to 256; got 3"):
        mi_loss(torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 5, 5), bins=3)


def test_values_beyond_the_range_fall_into_its_ends_and_those_that_are_not_finite_into_the_table():
    rng = np.random.default_rng(5)
    bins, warped = rng.integers(0, 32, (6, 7, 40)).astype(np.uint8), rng.random((6, 7, 40)).astype(np.float32)
    wild, tame = warped.copy(), warped.copy()
    wild[1, 2, ::3], tame[1, 2, ::3] = 1e30, 1
    wild[2, 3, ::3], tame[2, 3, ::3] = -1e30, 0
    found = joint_histogram(bins, wild, 0.0, 29.0, 32)
    np.testing.assert_allclose(found, joint_histogram(bins, tame, 0.0, 29.0, 32), atol=1e-4)
    wild[3, :, ::3], wild[4, :, ::3], wild[5, :, ::3] = np.nan, np.inf, -np.inf
    assert joint_histogram(bins, wild, 0.0, 29.0, 32).shape == (32, 32)
    assert histogram_derivative(bins, wild, 0.0, 29.0, found).shape == warped.shape
