"""The ResNet generator of image translation: from one modality's appearance to another's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from deformgan.networks.unet import convolution, cut, pad_to_multiple

STRIDE = 4  # of the grid that the residual blocks work on
SPREAD = 0.02  # standard deviation of the first weights, where norms follow


class ResidualGenerator(nn.Module):
    """(B, 1, *spatial) -> (B, 1, *spatial), 2-D or 3-D, both in [-1, 1].

    A convolution of 7^d to `channels`, two strided ones that double them, `blocks` residual blocks, two transposed
    convolutions back, one of 7^d and tanh; reflected borders.  Any spatial shape of four or more: it is padded by
    repeating the border to a multiple of four, and the result cut.  norm: instance norms, whose statistics are those of
    the image given.  recompute: keep no activations inside the blocks (less memory, a third more time).
    Source: Johnson et al. 2016; CycleGAN (Zhu et al. 2017); 9 blocks as in Hiasa et al. 2018.
    """

    def __init__(
        self, channels: int = 64, blocks: int = 9, *, dimension: int = 2, norm: bool = True, recompute: bool = False
    ) -> None:
        super().__init__()
        self.norm, self.recompute = norm, recompute
        layer, wide = convolution(dimension), STRIDE * channels
        transposed = nn.ConvTranspose3d if dimension == 3 else nn.ConvTranspose2d
        self.first = layer(1, channels, 7)
        self.down = nn.ModuleList(layer(channels * k, channels * 2 * k, 3, 2, 1) for k in (1, 2))
        self.blocks = nn.ModuleList(ResidualBlock(dimension, wide, norm=norm) for _ in range(blocks))
        self.up = nn.ModuleList(transposed(channels * k, channels * k // 2, 3, 2, 1, 1) for k in (4, 2))
        self.last = layer(channels, 1, 7)
        for name, parameter in self.named_parameters():
            if not name.endswith("weight"):
                nn.init.zeros_(parameter)
            elif norm:
                nn.init.normal_(parameter, std=SPREAD)
            else:  # so little would be passed on without norms that nothing is learned
                nn.init.kaiming_normal_(parameter)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        shape = tuple(image.shape[2:])
        x = pad_to_multiple(image, STRIDE)
        x = self._active(self.first(_reflected(x, 3)))
        for layer in self.down:
            x = self._active(layer(x))
        for block in self.blocks:
            keep = not (self.recompute and torch.is_grad_enabled())
            x = block(x) if keep else checkpoint(block, x, use_reentrant=False)
        for layer in self.up:
            x = self._active(layer(x))
        return cut(torch.tanh(self.last(_reflected(x, 3)).float()), shape)

    def _active(self, x: Tensor) -> Tensor:
        return functional.relu(_normed(x) if self.norm else x)


class ResidualBlock(nn.Module):
    """x + what two convolutions of 3^d make of it."""

    def __init__(self, dimension: int, channels: int, *, norm: bool) -> None:
        super().__init__()
        layer, self.norm = convolution(dimension), norm
        self.first, self.second = layer(channels, channels, 3), layer(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        inner = self.first(_reflected(x, 1))
        inner = functional.relu(_normed(inner) if self.norm else inner)
        inner = self.second(_reflected(inner, 1))
        out: Tensor = x + (_normed(inner) if self.norm else inner)
        return out


def _normed(x: Tensor) -> Tensor:
    return functional.instance_norm(x) if x[0, 0].numel() > 1 else x


def _reflected(x: Tensor, width: int) -> Tensor:
    """Padded by its mirror image; an axis too short for that, by its border."""
    mode = "reflect" if min(x.shape[2:]) > width else "replicate"
    return functional.pad(x, [width] * (2 * (x.ndim - 2)), mode=mode)
