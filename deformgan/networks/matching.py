"""Where in the moving image each place of the fixed one may lie: a matching volume, the same for any two modalities."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deformgan.kernels.matching import matching_cost as compiled_cost
from deformgan.networks.unet import SLOPE, convolution
from deformgan.similarity.descriptors import mind_ssc
from deformgan.spatial.warp import compiled

CELL = 2  # voxels along each side
SHARPNESS = 3.0  # logarithm of the softmax' first scale: a descriptor difference of 1/20 makes a match less likely by e


class Matching(nn.Module):
    """Both images (B, 1, *spatial), even sizes -> (B, outputs, *spatial / 2).

    Each cell of two voxels a side of the fixed image is compared with what lies within `radius` voxels in the moving
    one, by the self-similarity of both (MIND-SSC).  The result holds the likely displacement, in cells, and what a 1^d
    convolution makes of the likelihood of each.  A U-Net that is only given the two images has to learn first what an
    edge of one is in the other; here it is told.  No derivative by the images.  Source: Heinrich et al. 2013 (the
    descriptor), Heinrich 2019 (the volume, PDD-net).
    """

    def __init__(self, dimension: int, radius: int, channels: int) -> None:
        super().__init__()
        self.radius = radius
        self.outputs = channels + dimension
        self.log_scale = nn.Parameter(torch.tensor(SHARPNESS))
        shifts = _shifts(dimension, radius)
        self.squeeze = convolution(dimension)(len(shifts), channels, 1)
        self.in_cells = [tuple(step / CELL for step in shift) for shift in shifts]

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """See the class."""
        with torch.no_grad():
            cost = matching_cost(mind_ssc(fixed.float()), mind_ssc(moving.float()), self.radius)
        likely = torch.softmax(-cost * self.log_scale.exp(), 1)
        displacement = torch.einsum("bk...,ki->bi...", likely, likely.new_tensor(self.in_cells))
        seen = functional.leaky_relu(self.squeeze(likely * len(self.in_cells) ** 0.5), SLOPE)
        return torch.cat([displacement, seen], 1)


def matching_cost(fixed: Tensor, moving: Tensor, radius: int) -> Tensor:
    """(B, K, *spatial / 2): sum over the channels of (fixed(x) - moving(x + shift))^2, the mean of each cell.

    Both (B, C, *spatial), even sizes; K = (2 radius + 1)^d shifts, in voxels, x fastest; the border repeats.
    """
    if not compiled(fixed, moving):
        return matching_cost_reference(fixed, moving, radius)
    pairs = zip(fixed.numpy(), moving.numpy(), strict=True)
    return torch.from_numpy(np.stack([compiled_cost(f, m, radius) for f, m in pairs]))


def matching_cost_reference(fixed: Tensor, moving: Tensor, radius: int) -> Tensor:
    """`matching_cost` in plain torch: 2-D or 3-D, any device."""
    shape = fixed.shape[2:]
    pool = functional.avg_pool3d if len(shape) == 3 else functional.avg_pool2d
    padded = functional.pad(moving, [radius] * (2 * len(shape)), mode="replicate")
    planes = []
    for shift in _shifts(len(shape), radius):
        part = padded
        for axis, (step, size) in enumerate(zip(shift, shape, strict=True), start=2):
            part = part.narrow(axis, radius + step, size)
        planes.append(pool((fixed - part).square().sum(1, keepdim=True), CELL))
    return torch.cat(planes, 1)


def _shifts(dimension: int, radius: int) -> list[tuple[int, ...]]:
    return list(product(range(-radius, radius + 1), repeat=dimension))
