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

    layers: strided convolutions of 4^d, each halves the grid and doubles the channels; a score sees a patch of
    5 * 2^layers - 2 voxels.  conditional: D also sees another image beside the one it judges.  spectral: each layer's
    largest gain is held at 1 (Miyato et al. 2018).  wide: one more layer of 4^d, without a stride, and the last of 4^d
    instead of 3^d; a score sees 9 * 2^layers - 2 voxels, 70 with three layers.  norm: instance norms after all layers
    but the first and the last.
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
        wide: bool = False,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.conditional, self.norm = conditional, norm
        widths = [1 + conditional, *(channels * 2**k for k in range(layers + wide))]
        layer = convolution(dimension)
        strides = [2] * layers + [1] * wide
        self.body = nn.ModuleList(layer(a, b, 4, s, 1) for (a, b), s in zip(pairwise(widths), strides, strict=True))
        self.last = layer(widths[-1], 1, 4 if wide else 3, 1, 1)
        if spectral:
            for module in [*self.body, self.last]:
                spectral_norm(module)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Scores of `image`, real or synthesised; a conditional D alone looks at `condition`."""
        x = torch.cat([image, condition], 1) if self.conditional and condition is not None else image
        for k, layer in enumerate(self.body):
            x = layer(_at_least(x, 4))
            if self.norm and k > 0 and x[0, 0].numel() > 1:
                x = functional.instance_norm(x)
            x = functional.leaky_relu(x, SLOPE)
        scores: Tensor = self.last(_at_least(x, self.last.kernel_size[0] - 2))
        return scores.float()


def _at_least(x: Tensor, size: int) -> Tensor:
    """Padded by its border where an axis is shorter than `size`."""
    lacking = [max(0, size - n) for n in reversed(x.shape[2:])]
    return functional.pad(x, [n for m in lacking for n in (0, m)], mode="replicate") if any(lacking) else x
