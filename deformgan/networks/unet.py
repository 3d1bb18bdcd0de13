"""The U-Net that T and G are made of, 2-D or 3-D, for any input shape.

Ours rather than MONAI's: loading MONAI takes longer than T's whole answer on a laptop, and T stops its decoder at half
resolution.  No layer mixes the samples of a batch, so a sample's result does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

SLOPE = 0.2  # of the leaky rectifiers


def convolution(dimension: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """The convolution class of 2-D or 3-D."""
    return nn.Conv3d if dimension == 3 else nn.Conv2d


class Block(nn.Module):
    """Two convolutions of 3^d, each followed by an instance norm (where asked for) and a leaky rectifier."""

    def __init__(self, dimension: int, inputs: int, outputs: int, stride: int = 1, *, norm: bool = False) -> None:
        super().__init__()
        layer = convolution(dimension)
        self.first = layer(inputs, outputs, 3, stride, 1)
        self.second = layer(outputs, outputs, 3, 1, 1)
        self.norm = norm
        # He's weights: with torch's own, a network without norms passes on little but its biases.
        for convolved in (
            self.first,
            self.second,
        ):
            nn.init.kaiming_normal_(convolved.weight, a=SLOPE)
            nn.init.zeros_(convolved.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, *spatial) -> (B, outputs, *spatial / stride)."""
        for layer in (self.first, self.second):
            x = layer(x)
            if self.norm and x[0, 0].numel() > 1:
                x = functional.instance_norm(x)
            x = functional.leaky_relu(x, SLOPE)
        return x


class UNet(nn.Module):
    """Encoder of strided blocks, decoder with skip connections.

    (B, inputs, *spatial) -> (B, channels[0], *spatial).  channels: of each level, fine to coarse.  Any spatial shape:
    it is padded by repeating the border to a multiple of the coarsest stride, and the result cut.  recompute: keep no
    activations inside the blocks, but compute them again in the backward pass (less memory, a third more time).
    """

    def __init__(
        self, dimension: int, inputs: int, channels: Sequence[int], *, norm: bool = False, recompute: bool = False
    ) -> None:
        super().__init__()
        self.stride, self.recompute = 2 ** (len(channels) - 1), recompute
        self.down = nn.ModuleList(
            Block(dimension, a, b, 1 if level == 0 else 2, norm=norm)
            for level, (a, b) in enumerate(pairwise([inputs, *channels]))
        )
        self.up = nn.ModuleList(
            Block(dimension, coarse + fine, fine, norm=norm) for coarse, fine in pairwise(reversed(channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        shape = tuple(x.shape[2:])
        x = pad_to_multiple(x, self.stride)
        kept: list[Tensor] = []
        for block in self.down:
            x = self._run(block, x)
            kept.append(x)
        kept.pop()
        for block in self.up:
            skip = kept.pop()
            x = functional.interpolate(x, size=skip.shape[2:], mode="nearest")
            x = self._run(block, torch.cat([x, skip], 1))
        return cut(x, shape)

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if not (self.recompute and torch.is_grad_enabled()):
            out: Tensor = block(x)
            return out
        out = checkpoint(block, x, use_reentrant=False)
        return out


def cut(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The first voxels of each spatial axis."""
    for axis, size in enumerate(shape, start=2):
        x = x.narrow(axis, 0, size)
    return x


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """The border repeated at the far end of each axis until its length is a multiple."""
    lacking = [-n % multiple for n in reversed(x.shape[2:])]
    return functional.pad(x, [n for m in lacking for n in (0, m)], mode="replicate") if any(lacking) else x
