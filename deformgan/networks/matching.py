"""Where in the moving image each place of the fixed one may lie: a matching volume, the same for any two modalities."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from deformgan.networks.unet import SLOPE, convolution
from deformgan.similarity.descriptors import mind_ssc

SHARPNESS = 3.0  # logarithm of the softmax' first scale: a descriptor difference of 1/20 makes a match less likely by e


class Matching(nn.Module):
    """Both images (B, 1, *spatial), even sizes -> (B, outputs, *spatial / 2).

    The self-similarity of both (MIND-SSC) is averaged over cells of two voxels; each cell of the fixed image is
    compared with all cells of the moving one within `radius`.  The result holds the likely displacement, in cells, and
    what a 1^d convolution makes of the likelihood of each.  A U-Net that is only given the two images has to learn
    first what an edge of one is in the other; here it is told.  Source: Heinrich et al. 2013 (the descriptor),
    Heinrich 2019 (the volume, PDD-net).
    """

    def __init__(self, dimension: int, radius: int, channels: int) -> None:
        super().__init__()
        self.radius = radius
        shifts = list(product(range(-radius, radius + 1), repeat=dimension))
        self.outputs = channels + dimension
        self.log_scale = nn.Parameter(torch.tensor(SHARPNESS))
        self.squeeze = convolution(dimension)(len(shifts), channels, 1)
        self.shifts: list[tuple[int, ...]] = shifts

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """See the class."""
        with torch.no_grad():
            cost = self._cost(_described(fixed), _described(moving))
        likely = torch.softmax(-cost * self.log_scale.exp(), 1)
        displacement = torch.einsum("bk...,ki->bi...", likely, likely.new_tensor(self.shifts))
        seen = functional.leaky_relu(self.squeeze(likely * len(self.shifts) ** 0.5), SLOPE)
        return torch.cat([displacement, seen], 1)

    def _cost(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """(B, K, *cells): sum of the squared differences of the descriptors under each shift; the border repeats."""
        r, shape = self.radius, fixed.shape[2:]
        padded = functional.pad(moving, [r] * (2 * len(shape)), mode="replicate")
        planes = []
        for shift in self.shifts:
            part = padded
            for axis, (step, size) in enumerate(zip(shift, shape, strict=True), start=2):
                part = part.narrow(axis, r + step, size)
            planes.append((fixed - part).square().sum(1))
        return torch.stack(planes, 1)


def _described(image: Tensor) -> Tensor:
    """(B, K, *spatial / 2)."""
    pool = functional.avg_pool3d if image.ndim == 5 else functional.avg_pool2d
    return pool(mind_ssc(image.float()), 2)
