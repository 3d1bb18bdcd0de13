"""T: from a pair of images to the displacement that brings them together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from deformgan.networks.matching import Matching
from deformgan.networks.unet import Block, UNet, convolution, cut, pad_to_multiple
from deformgan.spatial.field import compose, exponential, resize
from deformgan.spatial.warp import warp

Output = Literal["velocity", "displacement"]
NEAR_ZERO = 1e-5  # standard deviation of the last layer's weights at the start: T begins near the identity


class TransformationNetwork(nn.Module):
    """T: (fixed, moving) -> displacement u, x_moving = x_fixed + u(x_fixed).

    Both images (B, 1, *spatial), 2-D or 3-D, on one grid after affine alignment, scaled to [0, 1] -> (B, d, *spatial),
    components z, y, x, in voxels of that grid.  channels: of each level, fine to coarse.  output: "velocity" is
    integrated by scaling and squaring and hardly folds; "displacement" is taken as it is.  half: predict on every
    second voxel, in an eighth of the memory, and interpolate.  matching: radius, in voxels, of the matching volume that
    the U-Net is given beside the images (with `half` only); 0 = the images alone, as in the paper.  passes: how often
    the moving image is warped by what was found so far and looked at again, by the same weights.  Any spatial shape.
    Source: T of Deform-GAN (Zhang et al. 2020); the velocity after Dalca et al. 2018.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 32, 32),
        *,
        dimension: int = 3,
        output: Output = "velocity",
        half: bool = True,
        matching: int = 0,
        passes: int = 1,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.output, self.passes = output, passes
        self.stem = Block(dimension, 2, channels[0], 2) if half else None
        self.matching = Matching(dimension, matching, channels[0]) if half and matching else None
        inputs = (channels[0] if half else 2) + (self.matching.outputs if self.matching else 0)
        self.body = UNet(dimension, inputs, channels[int(half) :], recompute=recompute)
        self.last = convolution(dimension)(channels[int(half)], dimension, 3, 1, 1)
        nn.init.normal_(self.last.weight, std=NEAR_ZERO)
        nn.init.zeros_(self.last.get_parameter("bias"))

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """The displacement; see the class."""
        displacement = self._pass(fixed, moving)
        for _ in range(1, self.passes):
            with _full_precision(fixed):
                nearer = warp(moving.float(), displacement, outside="border")
            further = self._pass(fixed, nearer)
            with _full_precision(fixed):
                displacement = compose(displacement, further)
        return displacement

    def _pass(self, fixed: Tensor, moving: Tensor) -> Tensor:
        shape = tuple(fixed.shape[2:])
        pair = torch.cat([fixed, moving], 1)
        if self.stem is None:
            return self._field(self.body(pair))
        pair = pad_to_multiple(pair, 2)
        seen = self.stem(pair)
        if self.matching is not None:
            with _full_precision(pair):
                matched = self.matching(pair[:, :1].float(), pair[:, 1:].float())
            seen = torch.cat([seen, matched], 1)
        field = self._field(self.body(seen))
        with _full_precision(pair):
            return cut(resize(field, tuple(pair.shape[2:])), shape)

    def _field(self, features: Tensor) -> Tensor:
        """The displacement on the body's grid; positions are float32 whatever the convolutions are computed in."""
        field: Tensor = self.last(features).float()
        with _full_precision(field):
            return exponential(field) if self.output == "velocity" else field


def _full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Autocast off, where the device of x has it."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
