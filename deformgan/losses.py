"""The losses for your own training: as functions, and as layers (`nn.Module`) with their settings.

>>> import torch
>>> from deformgan import losses
>>> fixed = torch.rand(1, 1, 24, 20, 16)
>>> warped = (1 - fixed).requires_grad_()                 # the same edges in another contrast
>>> loss = losses.LocalGradientLoss(size=7)(warped, fixed)
>>> loss.backward()
>>> bool(loss < 0.1), warped.grad.shape
(True, torch.Size([1, 1, 24, 20, 16]))

A similarity takes (warped, fixed), both (B, 1, *spatial), 2-D or 3-D, with mask and weight (B or 1, 1, *spatial) where
wanted; a penalty takes a displacement (B, d, *spatial), components z, y, x, in voxels.  All are minimised and give one
number.  On a CPU, in 3-D and float32, compiled kernels with their own derivative serve them.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from deformgan.similarity.correlation import FLOOR as FLAT
from deformgan.similarity.correlation import lcc_loss, ncc_loss
from deformgan.similarity.descriptors import mind_loss, mind_ssc
from deformgan.similarity.gradient import FLOOR as FAINT
from deformgan.similarity.gradient import gradient_correlation_loss, local_gradient_loss
from deformgan.similarity.information import Range, mi_loss, nmi_loss
from deformgan.similarity.pointwise import cauchy_loss, l1_loss, l2_loss
from deformgan.similarity.smoothness import bending_loss, diffusion_loss, folding_loss

__all__ = [
    "BendingLoss",
    "DiffusionLoss",
    "FoldingLoss",
    "GradientCorrelationLoss",
    "LCCLoss",
    "LocalGradientLoss",
    "MILoss",
    "MINDLoss",
    "NCCLoss",
    "NMILoss",
    "bending_loss",
    "cauchy_loss",
    "diffusion_loss",
    "folding_loss",
    "gradient_correlation_loss",
    "l1_loss",
    "l2_loss",
    "lcc_loss",
    "local_gradient_loss",
    "mi_loss",
    "mind_loss",
    "mind_ssc",
    "ncc_loss",
    "nmi_loss",
]


class NCCLoss(nn.Module):
    """`ncc_loss` as a layer."""

    def __init__(self, *, squared: bool = False) -> None:
        super().__init__()
        self.squared = squared

    def forward(
        self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """See `ncc_loss`."""
        return ncc_loss(warped, fixed, mask=mask, weight=weight, squared=self.squared)


class LCCLoss(nn.Module):
    """`lcc_loss` as a layer."""

    def __init__(self, size: int = 7, *, squared: bool = True, eps: float = FLAT) -> None:
        super().__init__()
        self.size, self.squared, self.eps = size, squared, eps

    def forward(
        self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """See `lcc_loss`."""
        return lcc_loss(warped, fixed, size=self.size, mask=mask, weight=weight, squared=self.squared, eps=self.eps)


class LocalGradientLoss(nn.Module):
    """`local_gradient_loss` as a layer: Deform-GAN's, n = 7."""

    def __init__(self, size: int = 7, *, eps: float = FAINT) -> None:
        super().__init__()
        self.size, self.eps = size, eps

    def forward(
        self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """See `local_gradient_loss`."""
        return local_gradient_loss(warped, fixed, size=self.size, mask=mask, weight=weight, eps=self.eps)


class GradientCorrelationLoss(nn.Module):
    """`gradient_correlation_loss` as a layer."""

    def forward(
        self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """See `gradient_correlation_loss`."""
        return gradient_correlation_loss(warped, fixed, mask=mask, weight=weight)


class MILoss(nn.Module):
    """`mi_loss` as a layer."""

    def __init__(self, bins: int = 32, *, warped_range: Range | None = None) -> None:
        super().__init__()
        self.bins, self.warped_range = bins, warped_range

    def forward(
        self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """See `mi_loss`."""
        return mi_loss(warped, fixed, bins=self.bins, mask=mask, weight=weight, warped_range=self.warped_range)


class NMILoss(MILoss):
    """`nmi_loss` as a layer."""

    def forward(
        self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """See `nmi_loss`."""
        return nmi_loss(warped, fixed, bins=self.bins, mask=mask, weight=weight, warped_range=self.warped_range)


class MINDLoss(nn.Module):
    """`mind_loss` as a layer."""

    def __init__(self, radius: int = 2, dilation: int = 2) -> None:
        super().__init__()
        self.radius, self.dilation = radius, dilation

    def forward(
        self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """See `mind_loss`."""
        return mind_loss(warped, fixed, radius=self.radius, dilation=self.dilation, mask=mask, weight=weight)


class DiffusionLoss(nn.Module):
    """`diffusion_loss` as a layer; spacing in mm along z, y, x."""

    def __init__(self, spacing: Sequence[float] | None = None) -> None:
        super().__init__()
        self.spacing = spacing

    def forward(self, displacement: Tensor) -> Tensor:
        """See `diffusion_loss`."""
        return diffusion_loss(displacement, spacing=self.spacing)


class BendingLoss(nn.Module):
    """`bending_loss` as a layer; spacing in mm along z, y, x."""

    def __init__(self, spacing: Sequence[float] | None = None) -> None:
        super().__init__()
        self.spacing = spacing

    def forward(self, displacement: Tensor) -> Tensor:
        """See `bending_loss`."""
        return bending_loss(displacement, spacing=self.spacing)


class FoldingLoss(nn.Module):
    """`folding_loss` as a layer."""

    def __init__(self, *, margin: float = 0.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, displacement: Tensor) -> Tensor:
        """See `folding_loss`."""
        return folding_loss(displacement, margin=self.margin)
