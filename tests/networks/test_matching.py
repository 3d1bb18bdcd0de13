import pytest
import torch

from deformgan.networks.matching import CELL, Matching, matching_cost, matching_cost_reference
from deformgan.networks.transformation import TransformationNetwork


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_the_kernel_is_its_twin(radius):
    a, b = noise(2, 4, 6, 10, 8), noise(2, 4, 6, 10, 8, seed=1)
    found = matching_cost(a, b, radius)
    assert found.shape == (2, (2 * radius + 1) ** 3, 3, 5, 4)
    torch.testing.assert_close(found, matching_cost_reference(a, b, radius))


@pytest.mark.parametrize(("dimension", "shift"), [(2, (1, -2)), (3, (-1, 2, 1))])
def test_the_likely_displacement_is_that_of_a_shifted_image(dimension, shift):
    """moving(x + shift) = fixed(x); cells are two voxels; the other contrast is a negative."""
    image = noise(1, 1, *(32,) * dimension)
    moving = 1 - torch.roll(image, shift, tuple(range(2, 2 + dimension)))
    found = Matching(dimension, 2, 4)(image, moving)[:, :dimension].detach()
    inner = found[(slice(None), slice(None), *(slice(4, -4),) * dimension)]
    torch.testing.assert_close(
        inner.flatten(2).median(2).values[0] * CELL, torch.tensor(shift).float(), atol=0.15, rtol=0
    )


def test_a_second_pass_sees_what_the_first_has_left():
    """Two passes of a network that always answers the same move twice as far."""
    one, two = (TransformationNetwork((4, 8, 8), matching=1, passes=n, output="displacement") for n in (1, 2))
    for network in (one, two):
        with torch.no_grad():
            network.last.weight.zero_()
            network.last.bias.copy_(torch.tensor([0.5, -0.25, 0.0]))
    images = noise(1, 1, 13, 18, 11), noise(1, 1, 13, 18, 11, seed=1)
    torch.testing.assert_close(two(*images), 2 * one(*images))
    two(*images).square().mean().backward()
    assert float(two.last.bias.grad.abs().max()) > 0
