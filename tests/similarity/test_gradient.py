"""LG and GC: known values, invariances, flat patches, and the compiled LG against its twin in torch."""

import math
from functools import partial

import numba
import pytest
import torch
from torch.nn import functional

from deformgan.similarity.gradient import (
    GradientCorrelation,
    LocalGradient,
    gradient_correlation_loss,
    local_gradient_loss,
)

SHAPES = [(2, 1, 12, 13, 14), (1, 1, 85, 9, 11), (2, 1, 21, 26), (1, 1, 4, 5, 3), (1, 1, 1, 9, 9)]


def a_pair(shape, *, dtype=torch.float32):
    """Two related images with a flat patch each."""
    generator = torch.Generator().manual_seed(0)
    warped = torch.randn(shape, generator=generator, dtype=torch.float64)
    fixed = warped**2 + 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    warped[..., :2] = 0.5
    fixed[..., :2, :] = -1
    return (100 + 40 * warped).to(dtype), fixed.to(dtype)


def some_weights(shape):
    return torch.rand((2, *shape), generator=torch.Generator().manual_seed(1))


def loss_and_slopes(warped, fixed, **options):
    warped, fixed = warped.clone().requires_grad_(), fixed.clone().requires_grad_()
    loss = local_gradient_loss(warped, fixed, **options)
    return loss.detach(), *torch.autograd.grad(loss, (warped, fixed))


def ramp(direction, shape=(14, 15, 16)):
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
    return sum(d * a for d, a in zip(direction, axes, strict=True))[None, None]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_compiled_lg_is_its_twin(shape, weighted):
    warped, fixed = a_pair(shape)
    mask, weight = some_weights(shape) if weighted else (None, None)
    compiled = loss_and_slopes(warped, fixed, size=5, mask=mask, weight=weight)
    twin = loss_and_slopes(warped.double(), fixed.double(), size=5, mask=mask, weight=weight)
    for ours, theirs in zip(compiled, twin, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("shape", [(1, 1, 4, 5, 6), (2, 1, 6, 7)])
def test_gradcheck_of_the_twin(shape):
    generator = torch.Generator().manual_seed(3)
    warped, fixed = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
    mask, weight = some_weights(shape)

    def loss(w, f):
        # The scale of an image is held constant in the derivative, so it must not decide anything here.
        return local_gradient_loss(w, f, size=3, mask=mask, weight=weight, eps=1e-9)

    assert torch.autograd.gradcheck(loss, (warped.requires_grad_(), fixed.requires_grad_()), rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("shape", [(1, 1, 14, 15, 16), (1, 1, 30, 31)])
def test_lg_of_a_line_is_one_whatever_its_slope(shape):
    fixed = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for gain, offset in ((1, 0), (3, 50), (-0.02, 1)):
        assert float(local_gradient_loss(gain * fixed + offset, fixed, eps=1e-7)) == pytest.approx(0, abs=1e-4)


def test_lg_of_two_ramps_is_the_cosine_of_their_angle():
    along, across, between = ramp((0, 0, 1)), ramp((0, 1, 0)), ramp((1, 1, 0))
    inner = torch.zeros_like(along)  # at the border the two ramps' windows are cut differently
    inner[..., 4:-4, 4:-4, 4:-4] = 1
    assert float(local_gradient_loss(along, across, mask=inner, eps=1e-6)) == pytest.approx(1, abs=1e-5)
    loss = local_gradient_loss(between, -across, mask=inner, eps=1e-6)
    assert float(loss) == pytest.approx(1 - math.sqrt(0.5), abs=1e-5)


def test_eps_is_the_slope_that_halves_the_direction():
    image = ramp((0, 0, 1))
    spread = float(image[..., ::3].double().std(correction=0))  # 16 % 3 // 2 = 0 is the first of every third voxel
    inner = torch.zeros_like(image)
    inner[..., 4:-4, 4:-4, 4:-4] = 1
    assert float(local_gradient_loss(image, image, mask=inner, eps=1 / spread)) == pytest.approx(3 / 4, abs=1e-3)


def test_lg_finds_the_shift_of_an_edge():
    noise = torch.randn((1, 1, 20, 20, 40), generator=torch.Generator().manual_seed(0))
    smooth = functional.avg_pool3d(noise, 5, stride=1, padding=2)
    losses = [float(local_gradient_loss(-(smooth.roll(s, -1)), smooth)) for s in range(4)]
    assert losses == sorted(losses) and losses[1] > losses[0] + 0.05


def test_flat_images_have_no_gradient_to_agree():
    noise = torch.randn((1, 1, 10, 11, 12), generator=torch.Generator().manual_seed(0))
    for flat in (torch.zeros_like(noise), torch.full_like(noise, -1000.1)):
        for dtype in (torch.float32, torch.float64):
            for pair in ((flat, noise), (noise, flat), (flat, flat)):
                loss, by_warped, by_fixed = loss_and_slopes(*(x.to(dtype) for x in pair))
                assert float(loss) == 1
                assert float(by_warped.abs().max()) == 0 and float(by_fixed.abs().max()) == 0
    assert float(local_gradient_loss(noise, noise, mask=torch.zeros_like(noise))) == 1


def test_lg_has_the_same_bits_for_any_number_of_threads():
    warped, fixed = a_pair((1, 1, 90, 10, 12))
    before, results = numba.get_num_threads(), []
    for threads in {1, numba.config.NUMBA_NUM_THREADS}:
        numba.set_num_threads(threads)
        results.append(LocalGradient(fixed).with_derivative(warped))
    numba.set_num_threads(before)
    assert all(value == results[0][0] and torch.equal(slope, results[0][1]) for value, slope in results)


@pytest.mark.parametrize("shape", [(2, 1, 6, 7, 8), (2, 1, 9, 10)])
def test_gc(shape):
    warped, fixed = a_pair(shape, dtype=torch.float64)
    assert float(gradient_correlation_loss(5 * fixed - 3, fixed)) == pytest.approx(0, abs=1e-9)
    assert float(gradient_correlation_loss(-fixed, fixed)) == pytest.approx(2)
    plain = 0.0
    for a, b in zip(warped, fixed, strict=True):
        for axis in range(1, len(shape) - 1):
            lines = torch.stack([a.diff(dim=axis).flatten(), b.diff(dim=axis).flatten()])
            plain += float(torch.corrcoef(lines)[0, 1]) / (2 * (len(shape) - 2))
    assert float(gradient_correlation_loss(warped, fixed)) == pytest.approx(1 - plain)
    half = torch.zeros_like(fixed)
    half[..., :5] = 1
    part = gradient_correlation_loss(warped[..., :5], fixed[..., :5])
    assert float(gradient_correlation_loss(warped, fixed, mask=half)) == pytest.approx(float(part))
    mask, weight = some_weights(shape)
    inputs = (warped.requires_grad_(), fixed.requires_grad_())
    masked = partial(gradient_correlation_loss, mask=mask, weight=weight)
    assert torch.autograd.gradcheck(masked, inputs, fast_mode=True)


def test_gc_is_the_mean_over_the_axes():
    # d/dy agrees, d/dx is opposite.
    y, x = torch.randn(20, generator=torch.Generator().manual_seed(0)), torch.randn(30)
    fixed, warped = (y[:, None] + x)[None, None], (y[:, None] - x)[None, None]
    assert float(gradient_correlation_loss(warped, fixed)) == pytest.approx(1, abs=1e-5)


def test_gc_of_flat_images_has_no_slope():
    noise = torch.randn((1, 1, 9, 10, 11), generator=torch.Generator().manual_seed(0))
    flat = torch.full_like(noise, -1000.1).requires_grad_()
    loss = gradient_correlation_loss(flat, noise)
    loss.backward()
    assert float(loss.detach()) == 1 and float(flat.grad.abs().max()) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gc_kernel_equals_its_twin(dtype):
    warped, fixed = a_pair((2, 1, 11, 9, 10), dtype=dtype)
    mask, weight = some_weights((2, 1, 11, 9, 10))
    loss = GradientCorrelation(fixed, mask.to(dtype))
    value, slope = loss.with_derivative(warped, weight.to(dtype))
    leaf = warped.clone().requires_grad_()
    twin = loss._reference(leaf, weight.to(dtype))
    twin.backward()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    assert value == pytest.approx(float(twin.detach()), abs=tolerance)
    torch.testing.assert_close(slope, leaf.grad, rtol=100 * tolerance, atol=tolerance * float(leaf.grad.abs().max()))
