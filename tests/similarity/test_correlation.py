"""NCC and LCC: known values, invariances, flat patches, and the compiled LCC against its twin in torch."""

import numba
import pytest
import torch

from deformgan.errors import InputError
from deformgan.similarity.correlation import LocalCorrelation, lcc_loss, ncc_loss

SHAPES = [(2, 1, 12, 13, 14), (1, 1, 85, 9, 11), (2, 1, 21, 26), (1, 1, 4, 5, 3)]


def a_pair(shape, *, dtype=torch.float32, seed=0):
    """Two related images with a flat patch each."""
    generator = torch.Generator().manual_seed(seed)
    warped = torch.randn(shape, generator=generator, dtype=torch.float64)
    fixed = warped**2 + 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    warped[..., :2] = 0.5
    fixed[..., :2, :] = -1
    return (100 + 40 * warped).to(dtype), fixed.to(dtype)


def some_weights(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator), (torch.rand(shape, generator=generator) > 0.3).float()


def loss_and_slopes(warped, fixed, **options):
    warped, fixed = warped.clone().requires_grad_(), fixed.clone().requires_grad_()
    loss = lcc_loss(warped, fixed, **options)
    return loss.detach(), *torch.autograd.grad(loss, (warped, fixed))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
def test_compiled_lcc_is_its_twin(shape, squared, weighted):
    warped, fixed = a_pair(shape)
    mask, weight = some_weights(shape, 1) if weighted else (None, None)
    options = {"size": 5, "squared": squared, "mask": mask, "weight": weight, "eps": 1e-2}
    compiled = loss_and_slopes(warped, fixed, **options)
    twin = loss_and_slopes(warped.double(), fixed.double(), **options)
    for ours, theirs in zip(compiled, twin, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("shape", [(1, 1, 4, 5, 6), (2, 1, 5, 7)])
@pytest.mark.parametrize("squared", [True, False])
def test_gradcheck_of_the_twin(shape, squared):
    warped, fixed = torch.randn((2, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask, weight = some_weights(shape, 2)

    def loss(w, f):
        # The scale of an image is held constant in the derivative, so it must not decide anything here.
        return lcc_loss(w, f, size=3, squared=squared, mask=mask, weight=weight, eps=1e-9)

    assert torch.autograd.gradcheck(loss, (warped.requires_grad_(), fixed.requires_grad_()), rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("shape", [(1, 1, 14, 15, 16), (1, 1, 30, 31)])
def test_lcc_of_a_line_is_zero_whatever_its_slope(shape):
    fixed = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for gain, offset in ((1, 0), (3, 50), (-0.02, 1)):
        assert float(lcc_loss(gain * fixed + offset, fixed)) == pytest.approx(0, abs=3e-4)
    assert float(lcc_loss(-fixed, fixed, squared=False)) == pytest.approx(2, abs=3e-4)


def test_lcc_of_unrelated_noise_is_that_of_its_degrees_of_freedom():
    warped, fixed = torch.randn((2, 1, 1, 40, 40, 40), generator=torch.Generator().manual_seed(0))
    # E[r^2] = 1 / (n - 1) for n independent samples; the border's smaller windows are masked out.
    mask = torch.zeros_like(fixed)
    mask[..., 2:-2, 2:-2, 2:-2] = 1
    assert float(1 - lcc_loss(warped, fixed, size=5, mask=mask)) == pytest.approx(1 / 124, rel=0.03)


def test_lcc_of_one_window_is_the_plain_correlation():
    warped, fixed = a_pair((1, 1, 3, 3, 3), seed=5)
    mask = torch.zeros_like(fixed)
    mask[..., 1, 1, 1] = 1
    plain = torch.corrcoef(torch.stack([warped.flatten(), fixed.flatten()]))[0, 1]
    assert float(1 - lcc_loss(warped, fixed, size=3, mask=mask, eps=1e-9)) == pytest.approx(float(plain) ** 2, rel=1e-4)


def test_what_has_no_weight_does_not_matter():
    warped, fixed = a_pair((1, 1, 12, 12, 30))
    weight = torch.ones_like(fixed)
    weight[..., 20:] = 0
    spoilt = warped.clone()
    spoilt[..., 20:] = 7000
    # eps is tiny as the image's spread, to which it is relative, is seen with the spoilt part.
    options = {"size": 5, "eps": 1e-9}
    part = loss_and_slopes(warped[..., :20].clone(), fixed[..., :20].clone(), **options)
    whole = loss_and_slopes(spoilt.double(), fixed.double(), weight=weight, **options)
    assert float(whole[0]) == pytest.approx(float(part[0]), abs=1e-4)
    assert float(whole[1][..., 20:].abs().max()) == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_flat_images_are_unrelated_and_have_no_slope(weighted):
    noise = torch.randn((1, 1, 10, 11, 12), generator=torch.Generator().manual_seed(0))
    flat = torch.full_like(noise, -1000.1)
    weight = torch.ones_like(noise) if weighted else None
    for warped, fixed in ((flat, noise), (noise, flat), (flat, flat)):
        loss, by_warped, by_fixed = loss_and_slopes(warped, fixed, weight=weight)
        assert float(loss) == pytest.approx(1, abs=1e-5)
        assert float(by_warped.abs().max()) < 1e-5 and float(by_fixed.abs().max()) < 1e-5
    loss, by_warped, _ = loss_and_slopes(noise, noise, mask=torch.zeros_like(noise))
    assert float(loss) == 1 and float(by_warped.abs().max()) == 0


def test_a_flat_patch_takes_no_part():
    warped, fixed = torch.randn((2, 1, 1, 30, 12, 12), generator=torch.Generator().manual_seed(0))
    warped[..., :20, :, :] = 1000
    _, slope, _ = loss_and_slopes(warped, fixed)
    assert float(slope[..., :14, :, :].abs().max()) < 1e-4 * float(slope.abs().max())


def test_lcc_has_the_same_bits_for_any_number_of_threads():
    warped, fixed = a_pair((1, 1, 90, 10, 12))
    before, results = numba.get_num_threads(), []
    for threads in {1, numba.config.NUMBA_NUM_THREADS}:
        numba.set_num_threads(threads)
        results.append(LocalCorrelation(fixed).with_derivative(warped))
    numba.set_num_threads(before)
    assert all(value == results[0][0] and torch.equal(slope, results[0][1]) for value, slope in results)


def test_both_ways_to_the_derivative_agree():
    warped, fixed = a_pair((2, 1, 12, 10, 9))
    loss = LocalCorrelation(fixed, 5)
    value, slope = loss.with_derivative(warped)
    leaf = warped.clone().requires_grad_()
    (3 * loss(leaf)).backward()
    torch.testing.assert_close(leaf.grad, 3 * slope)
    assert float(loss(warped)) == pytest.approx(value)
    double = LocalCorrelation(fixed.double(), 5).with_derivative(warped.double())
    torch.testing.assert_close(double[1].float(), slope, rtol=1e-2, atol=2e-3 * float(slope.abs().max()))


@pytest.mark.parametrize("shape", [(2, 1, 6, 7, 8), (2, 1, 9, 10)])
def test_ncc(shape):
    warped, fixed = a_pair(shape, dtype=torch.float64)
    assert float(ncc_loss(5 * fixed - 3, fixed)) == pytest.approx(0, abs=1e-9)
    assert float(ncc_loss(-fixed, fixed)) == pytest.approx(2)
    assert float(ncc_loss(-fixed, fixed, squared=True)) == pytest.approx(0, abs=1e-9)
    plain = [torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(warped, fixed, strict=True)]
    assert float(ncc_loss(warped, fixed)) == pytest.approx(1 - float(sum(plain)) / 2)
    half = torch.zeros_like(fixed)
    half[..., :4] = 1
    assert float(ncc_loss(warped, fixed, mask=half)) == pytest.approx(float(ncc_loss(warped[..., :4], fixed[..., :4])))
    mask, weight = some_weights(shape, 0)
    inputs = (warped.requires_grad_(), fixed.requires_grad_())
    assert torch.autograd.gradcheck(lambda w, f: ncc_loss(w, f, mask=mask, weight=weight), inputs)


def test_ncc_of_a_flat_image_has_no_slope():
    noise = torch.randn((1, 1, 9, 10, 11), generator=torch.Generator().manual_seed(0))
    for value in (0.0, -1000.1):
        flat = torch.full_like(noise, value).requires_grad_()
        loss = ncc_loss(flat, noise)
        loss.backward()
        assert float(loss.detach()) == 1 and float(flat.grad.abs().max()) == 0


def test_what_is_no_pair_is_refused():
    image = torch.zeros(1, 1, 8, 8, 8)
    with pytest.raises(InputError, match="one shape"):
        lcc_loss(image, image[..., :7])
    with pytest.raises(InputError, match="odd"):
        lcc_loss(image, image, size=4)
    with pytest.raises(InputError, match=r"\(B, 1, \*spatial\)"):
        ncc_loss(image.expand(1, 2, 8, 8, 8), image.expand(1, 2, 8, 8, 8))
