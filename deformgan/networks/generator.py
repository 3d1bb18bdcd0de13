"""G: from the warped moving image to the fixed image's appearance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deformgan.networks.unet import UNet, convolution


class Generator(nn.Module):
    """G: F(phi) -> F'(phi), both (B, 1, *spatial), 2-D or 3-D, scaled to [0, 1].

    residual: G adds to its input, and begins as the identity; otherwise it begins as nothing in particular.
    norm: instance norms inside; they forget absolute intensities, which CT windows need.
    Source: G of Deform-GAN (Zhang et al. 2020).
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 32),
        *,
        dimension: int = 3,
        residual: bool = False,
        norm: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.body = UNet(dimension, 1, channels, norm=norm, recompute=recompute)
        self.last = convolution(dimension)(channels[0], 1, 1)
        if residual:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.get_parameter("bias"))

    def forward(self, warped: Tensor) -> Tensor:
        """The synthesised image, in [0, 1]: a line inside, held smoothly at the ends so that no slope dies."""
        change = self.last(self.body(warped)).float()
        return soft_clamp(warped + change if self.residual else change + 0.5)


def soft_clamp(x: Tensor, margin: float = 0.05) -> Tensor:
    """x inside [0, 1]; beyond, it runs on with an ever smaller slope and stays within `margin` of the ends."""
    over = torch.relu(x - 1)
    under = torch.relu(-x)
    return x.clamp(0, 1) + margin * (torch.tanh(over / margin) - torch.tanh(under / margin))
