"""The network that finds structures."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from deformgan.networks.unet import UNet, convolution


class SegmentationNetwork(nn.Module):
    """(B, inputs, *spatial) in [-1, 1] -> logits (B, classes, *spatial), class 0 the background; any spatial shape.

    A U-Net with instance norms.  Source: the 2-D U-Net of Hiasa et al. 2018; its sizes are ours.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        channels: Sequence[int] = (32, 64, 128, 256, 256),
        *,
        dimension: int = 2,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.body = UNet(dimension, inputs, channels, norm=True, recompute=recompute)
        self.last = convolution(dimension)(channels[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.last(self.body(image)).float()
        return logits
