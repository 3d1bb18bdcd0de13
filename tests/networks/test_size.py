"""Sizes counted without values, beside what is known of a convolution."""

import torch
from torch import nn

from deformgan.networks.size import size_of


def test_a_convolution_of_known_size():
    network = nn.Sequential(nn.Conv3d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 4, 1, stride=2, groups=2))
    found = size_of(network, torch.empty(1, 2, 10, 12, 14))
    first, second = 8 * 10 * 12 * 14, 4 * 5 * 6 * 7
    assert found.weights == 8 * 2 * 27 + 8 + 4 * 4 + 4
    assert found.numbers == 2 * (first + second)
    assert found.work == first * 2 * 27 + second * 4


def test_nothing_is_computed():
    """A pass over what no memory holds."""
    found = size_of(nn.Conv2d(1, 1, 3, padding=1), torch.empty(1, 1, 10**7, 10**7, device="meta"))
    assert found.work == 9 * 10**14
