"""A moving image seen again and again: values, weights and derivatives beside the torch twin, and what is left out."""

import numpy as np
import pytest
import torch

from deformgan.kernels.spans import spans_of, whole
from deformgan.spatial.moving_view import MovingView

SHAPE, NODES = (14, 17, 19), (7, 9, 10)
OBLIQUE = np.array([[0.9, 0.1, 0.05, 1.2], [-0.12, 1.1, 0.1, -1.7], [0.05, -0.2, 0.95, 0.6], [0, 0, 0, 1]])


def ball(shape, radius):
    at = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij"))
    return (at.norm(dim=0) < radius).float()[None, None]


def pair():
    random = torch.Generator().manual_seed(0)
    image, u = (torch.randn(1, c, *s, generator=random) for c, s in ((1, (11, 20, 16)), (3, NODES)))
    valid = torch.ones_like(image)
    valid[..., 12:] = 0
    return image, valid, u


@pytest.mark.parametrize("masked", [True, False])
def test_values_weights_and_derivative_are_those_of_the_twin(masked):
    image, valid, u = pair()
    weight, seen = 0.5 * ball(SHAPE, 0.8), valid if masked else None
    view = MovingView(image, OBLIQUE, (2, 2, 2), weight, seen)
    twin = MovingView(image.double(), OBLIQUE, (2, 2, 2), weight.double(), None if seen is None else seen.double())
    assert view.spans is not None and twin.spans is None
    for step in (u, -0.5 * u):  # the buffers of the first call serve the second
        (warped, share), (warped_twin, share_twin) = view(step), twin(step.double())
        apart = (share != share_twin).double().mean()
        assert apart < 0.005  # a point between two voxels, one valid, one not
        assert (share > 0).any() and (share[weight > 0] == 0).any() and (share[weight == 0] == 0).all()
        torch.testing.assert_close((warped * share).double(), warped_twin * share, atol=3e-5, rtol=0)
        by_warped = torch.randn(1, 1, *SHAPE, generator=torch.Generator().manual_seed(1)) * (weight > 0)
        torch.testing.assert_close(
            view.pull_back(by_warped).double(), twin.pull_back(by_warped.double()), atol=3e-4, rtol=0
        )


def test_spans_hold_a_region_and_nothing_before_or_after_it():
    region = ball(SHAPE, 0.7)[0, 0].numpy() > 0
    region[3, 4] = False
    spans = spans_of(region)
    inside = np.zeros(SHAPE, bool)
    for z, y in np.ndindex(*SHAPE[:2]):
        inside[z, y, slice(*spans[z, y])] = True
        if region[z, y].any():
            assert region[z, y, spans[z, y, 0]] and region[z, y, spans[z, y, 1] - 1]
        else:
            assert spans[z, y, 0] == spans[z, y, 1]
    assert (inside >= region).all()
    np.testing.assert_array_equal(whole(SHAPE), spans_of(np.ones(SHAPE, bool)))
