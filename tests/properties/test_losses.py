"""No loss and no derivative of one is ever undefined; ranges and symmetries hold on any image."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from properties.grids import repeatable

from deformgan import losses

SLACK = 1e-4
SIMILARITIES = {  # with the range of their values
    "ncc": (losses.ncc_loss, 0, 2),
    "lcc": (lambda a, b, **k: losses.lcc_loss(a, b, size=3, **k), 0, 1),
    "lg": (lambda a, b, **k: losses.local_gradient_loss(a, b, size=3, **k), 0, 1),
    "gc": (losses.gradient_correlation_loss, 0, 2),
    "mi": (losses.mi_loss, -math.log(32), 0),
    "nmi": (losses.nmi_loss, 0, 1),
    "mind": (lambda a, b, **k: losses.mind_loss(a, b, radius=1, dilation=1, **k), 0, 1),
    "l1": (losses.l1_loss, 0, math.inf),
    "l2": (losses.l2_loss, 0, math.inf),
    "cauchy": (losses.cauchy_loss, 0, math.inf),
}
SYMMETRIC = ("ncc", "lcc", "lg", "gc", "mind", "l1", "l2", "cauchy")
BEST_WITH_ITSELF = ("ncc", "lcc", "lg", "gc", "mind", "l1", "l2", "cauchy")
PENALTIES = {"diffusion": losses.diffusion_loss, "bending": losses.bending_loss, "folding": losses.folding_loss}

SHAPES = st.sampled_from([(3, 3, 3), (4, 3, 5), (8, 7, 6), (3, 9, 4), (5, 6), (3, 3), (9, 4)])
KINDS = ("noise", "zero", "constant", "far constant", "one voxel", "half flat", "ramp", "tiny", "large")
CONTENTS = st.sampled_from(KINDS)


def image(content, shape, seed):
    """(1, 1, *spatial)."""
    noise = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(seed))
    ramp = torch.linspace(0, 1, math.prod(shape)).reshape(noise.shape)
    spot = torch.zeros_like(noise)
    spot.view(-1)[seed % spot.numel()] = 1
    half = torch.where(ramp < 0.5, torch.zeros_like(noise), noise)
    constant = torch.full_like(noise, 0.3)
    made = (noise, 0 * noise, constant, constant + 1000, spot, half, ramp, 1e-6 * noise, 1000 * noise + 500)
    return dict(zip(KINDS, made, strict=True))[content].clone()


@pytest.mark.parametrize("name", SIMILARITIES)
def test_similarities_are_finite_and_in_their_range(name):
    loss, low, high = SIMILARITIES[name]

    @given(CONTENTS, CONTENTS, SHAPES, st.integers(0, 99), st.sampled_from(["no mask", "some", "empty"]))
    @repeatable(30)
    def check(one, other, shape, seed, masked):
        fixed, warped = image(one, shape, seed), image(other, shape, seed + 1).requires_grad_()
        mask = {"some": (image("noise", shape, seed + 2) > 0.4).float(), "empty": torch.zeros_like(fixed)}.get(masked)
        value = loss(warped, fixed, mask=mask)
        (gradient,) = torch.autograd.grad(value, warped)
        assert value.shape == () and torch.isfinite(value) and torch.isfinite(gradient).all()
        assert low - SLACK <= float(value.detach()) <= high + SLACK
        if masked == "some":
            assert (gradient[mask == 0] == 0).all() or name in ("lcc", "lg", "gc", "mind")  # those look at neighbours

    check()


@pytest.mark.parametrize("name", SYMMETRIC)
def test_similarities_see_both_images_alike(name):
    loss = SIMILARITIES[name][0]

    @given(CONTENTS, CONTENTS, SHAPES, st.integers(0, 99))
    @repeatable(12)
    def check(one, other, shape, seed):
        a, b = image(one, shape, seed), image(other, shape, seed + 1)
        torch.testing.assert_close(loss(a, b), loss(b, a), atol=2e-4, rtol=2e-4)

    check()


@pytest.mark.parametrize("name", BEST_WITH_ITSELF)
def test_nothing_is_more_like_an_image_than_itself(name):
    loss = SIMILARITIES[name][0]

    @given(SHAPES, st.integers(0, 99))
    @repeatable(12)
    def check(shape, seed):
        a, b = image("noise", shape, seed), image("noise", shape, seed + 1)
        assert float(loss(a, a)) <= float(loss(b, a)) + SLACK

    check()


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_are_finite_and_zero_for_a_shift(name):
    penalty = PENALTIES[name]

    @given(st.sampled_from([(3, 3, 3), (4, 5, 6), (3, 8, 4), (4, 5)]), st.floats(-1e3, 1e3), st.integers(0, 99))
    @repeatable(20)
    def check(shape, size, seed):
        u = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, len(shape), *shape))).float()
        rough = (size * u).requires_grad_()
        value = penalty(rough)
        (gradient,) = torch.autograd.grad(value, rough)
        assert torch.isfinite(value) and value >= 0 and torch.isfinite(gradient).all()
        shift = size * u[:, :, :1, :1].mean((2, 3), keepdim=True) if len(shape) == 2 else size * u[:, :, :1, :1, :1]
        assert float(penalty(shift.expand_as(u).contiguous())) == pytest.approx(0, abs=1e-6)

    check()
