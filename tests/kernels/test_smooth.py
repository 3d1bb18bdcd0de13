"""The compiled Gaussian against its twin in torch, and its adjoint."""

import numpy as np
import pytest
import torch

from deformgan.kernels.smooth import border_share, gaussian, gaussian_taps
from deformgan.spatial.pyramid import gaussian_smooth_reference


@pytest.mark.parametrize("sigma", [(2.0, 1.0, 1.5), (0.0, 3.0, 0.5), (6.0, 0.0, 9.0)])
def test_gaussian_is_its_twin_also_where_it_is_wider_than_the_image(sigma):
    field = np.random.default_rng(0).standard_normal((2, 12, 13, 20)).astype(np.float32)
    twin = gaussian_smooth_reference(torch.from_numpy(field)[None].double(), sigma)[0]
    np.testing.assert_allclose(gaussian(field, sigma), twin, atol=1e-6)


def test_adjoint_is_the_transpose():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1, 12, 13, 14)).astype(np.float32)
    left = np.vdot(gaussian(x, (2, 1, 3)).astype(float), y)
    assert left == pytest.approx(np.vdot(x.astype(float), gaussian(y, (2, 1, 3), adjoint=True)), rel=1e-5)


def test_a_constant_stays_and_an_impulse_has_the_asked_width():
    np.testing.assert_allclose(gaussian(np.full((1, 9, 9, 9), 5, np.float32), (2, 2, 2)), 5, rtol=1e-6)
    impulse = np.zeros((1, 41, 41, 41), np.float32)
    impulse[0, 20, 20, 20] = 1
    profile = gaussian(impulse, (1.5, 2.0, 3.0))[0]
    for axis, sigma in enumerate((1.5, 2.0, 3.0)):
        line = profile.sum(tuple(a for a in range(3) if a != axis))
        assert np.sqrt((line * (np.arange(41) - 20) ** 2).sum()) == pytest.approx(sigma, rel=0.03)


def test_border_share_is_one_away_from_the_border():
    share = border_share(30, gaussian_taps(2.0))
    np.testing.assert_allclose(share[6:-6], 1)
    assert 0.5 < share[0] < 0.7
