"""D: is this patch of a real fixed image, or synthesised?"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from deformgan.networks.unet import SLOPE, convolution


class Discriminator(nn.Module):
    """PatchGAN: (B, 1, *spatial) -> (B, 1, *patches), a score for each patch, more = more real; 2-D or 3-D.

    layers: strided convolutions, each halves the grid and doubles the channels; the patch that a score sees is
    3 * 2^(layers + 1) - 2 voxels wide at least.  conditional: D also sees the warped moving image beside the image it
    judges.  spectral: each layer's largest gain is held at 1 (Miyato et al. 2018).
    Source: Isola et al. 2017; D of Deform-GAN (Zhang et al. 2020).
    """

    def __init__(
        self,
        channels: int = 16,
        layers: int = 3,
        *,
        dimension: int = 3,
        conditional: bool = False,
        spectral: bool = True,
    ) -> None:
        super().__init__()
        self.conditional = conditional
        widths = [1 + conditional, *(channels * 2**k for k in range(layers))]
        layer = convolution(dimension)
        self.body = nn.ModuleList(layer(a, b, 4, 2, 1) for a, b in pairwise(widths))
        self.last = layer(widths[-1], 1, 3, 1, 1)
        if spectral:
            for module in [*self.body, self.last]:
                spectral_norm(module)

    def forward(self, image: Tensor, warped: Tensor) -> Tensor:
        """Scores of `image`, real or synthesised; `warped` is looked at by a conditional D only."""
        x = torch.cat([image, warped], 1) if self.conditional else image
        for layer in self.body:
            x = functional.leaky_relu(layer(_at_least(x, 4)), SLOPE)
        scores: Tensor = self.last(x)
        return scores.float()


def _at_least(x: Tensor, size: int) -> Tensor:
    """Padded by its border where an axis is shorter than `size`."""
    lacking = [max(0, size - n) for n in reversed(x.shape[2:])]
    return functional.pad(x, [n for m in lacking for n in (0, m)], mode="replicate") if any(lacking) else x
