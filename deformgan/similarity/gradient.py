"""Agreement of edges, whatever the contrast: local gradients (LG) and gradient correlation (GC)."""

from __future__ import annotations

import torch
from torch import Tensor

from deformgan.kernels.gradient_correlation import gradient_correlation
from deformgan.kernels.local_gradient import local_agreement, local_directions
from deformgan.kernels.scale import shift_and_scale as scale_of
from deformgan.similarity.cached import CachedLoss, Counts, Float, Slope, runs_compiled, symmetric_loss, volumes
from deformgan.similarity.correlation import correlation
from deformgan.similarity.windows import box_sum, check_pair, shift_and_scale, weighted_mean

FLOOR = 1e-3  # standard deviations of the image per voxel: a mean slope in the window that makes |n| a half


def local_gradient_loss(
    warped: Tensor,
    fixed: Tensor,
    *,
    size: int = 7,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    eps: float = FLOOR,
) -> Tensor:
    """1 - LG, LG in [0, 1] the mean of |n(fixed) . n(warped)|, n the direction of the summed gradient of a window.

    Both (B, 1, *spatial), 2-D or 3-D -> scalar, the mean over B.  Windows of size^d voxels (odd), cut at the border;
    blind to the sign and the gain of the contrast; a flat window counts 0.  mask, weight: (B or 1, 1, *spatial), of
    each window in the mean, multiplied; values outside the moving image's field of view should repeat its border,
    or they make an edge.  eps: see FLOOR; the spread is that of every third voxel.
    Source: Deform-GAN (Zhang et al. 2020); here the mean in place of the sum, and eps relative to the image's spread.
    """
    check_pair(warped, fixed, size)
    if not runs_compiled(warped, fixed):
        return _lg_reference(warped, fixed, size, mask, weight, eps)
    loss = LocalGradient(fixed, size=size, mask=mask, eps=eps)(warped, weight)
    if not fixed.requires_grad:
        return loss
    return symmetric_loss(loss, LocalGradient(warped, size=size, mask=mask, eps=eps)(fixed, weight))


class LocalGradient(CachedLoss):
    """local_gradient_loss against a fixed image whose directions are kept, for loops over many warped images."""

    looks_beyond = True

    def __init__(self, fixed: Tensor, size: int = 7, mask: Tensor | None = None, *, eps: float = FLOOR) -> None:
        """All as in local_gradient_loss; the array kept is three times the fixed image."""
        check_pair(fixed, fixed, size)
        super().__init__(fixed, mask)
        self.size, self.eps = size, eps
        images = volumes(self.fixed) if self.compiled else []
        self._directions = [local_directions(image, size, self._floor(image)) for image in images]

    def _floor(self, image: Float) -> float:
        return self.eps * self.size ** (self.fixed.ndim - 2) / scale_of(image)[1]

    def _reference(self, warped: Tensor, weight: Tensor | None) -> Tensor:
        return _lg_reference(warped, self.fixed, self.size, self.mask, weight, self.eps)

    def _compiled(self, b: int, warped: Float, counts: Counts, slope: Slope) -> tuple[float, Float]:
        value, gradient = local_agreement(
            warped,
            self._directions[b],
            self.size,
            floor=self._floor(warped),
            mask=counts.mask,
            weight=counts.weight,
            derivative=slope.wanted,
            times=-slope.times,
        )
        return 1 - value, gradient


def _lg_reference(
    warped: Tensor, fixed: Tensor, size: int, mask: Tensor | None, weight: Tensor | None, eps: float
) -> Tensor:
    """The twin of the kernel in plain torch, any device and dtype."""
    agreement = (_directions(fixed, size, eps) * _directions(warped, size, eps)).sum(1, keepdim=True).abs()
    return 1 - weighted_mean(agreement, mask, weight)


def _directions(images: Tensor, size: int, eps: float) -> Tensor:
    """n of images (B, 1, *spatial) -> (B, d, *spatial)."""
    slopes = []
    for axis in range(2, images.ndim):
        last = images.shape[axis] - 1
        after = torch.cat([images.narrow(axis, 1, last), images.narrow(axis, last, 1)], axis)
        before = torch.cat([images.narrow(axis, 0, 1), images.narrow(axis, 0, last)], axis)
        slopes.append((after - before) / 2)
    sums = box_sum(torch.cat(slopes, 1), size)
    floor = eps * size ** len(slopes) / shift_and_scale(images)[1]
    square = (sums * sums).sum(1, keepdim=True)
    flat = square == 0  # where the root has no derivative
    length = torch.where(flat, torch.ones_like(square), square).sqrt()
    return torch.where(flat, torch.zeros_like(sums), sums / (length + floor))


def gradient_correlation_loss(
    warped: Tensor, fixed: Tensor, *, mask: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """1 - GC, GC the mean over the axes of the NCC of the differences along each: 0 = the same edges, 2 = opposite.

    Both (B, 1, *spatial), 2-D or 3-D, any intensity unit -> scalar, the mean over B; flat images count as unrelated.
    mask, weight: (B or 1, 1, *spatial); a difference is weighted by the product over its two voxels.
    Source: Penney et al. 1998; Hiasa et al. 2018, Eq. 4-5 (2-D); in 3-D the mean over three axes is ours.
    """
    loss = GradientCorrelation(fixed, mask)(warped, weight)
    return symmetric_loss(loss, GradientCorrelation(warped, mask)(fixed, weight)) if fixed.requires_grad else loss


class GradientCorrelation(CachedLoss):
    """gradient_correlation_loss against a fixed image that stays."""

    looks_beyond = True
    dtypes = (torch.float32, torch.float64)

    def _reference(self, warped: Tensor, weight: Tensor | None) -> Tensor:
        masks = [w.to(warped).expand_as(warped) for w in (self.mask, weight) if w is not None]
        axes, total = range(2, warped.ndim), warped.new_zeros(())
        for axis in axes:
            n = warped.shape[axis] - 1
            pairs = [(w.narrow(axis, 1, n) * w.narrow(axis, 0, n)).flatten(1) for w in masks]
            by_warped, by_fixed = (image.diff(dim=axis).flatten(1) for image in (warped, self.fixed))
            total = total + correlation(by_warped, by_fixed, pairs).mean()
        return 1 - total / len(axes)

    def _compiled(self, b: int, warped: Float, counts: Counts, slope: Slope) -> tuple[float, Float]:
        fixed, weight = volumes(self.fixed)[b], counts.both
        value, gradient = gradient_correlation(
            warped, fixed, weight=weight, derivative=slope.wanted, times=-slope.times, onto=slope.onto
        )
        return 1 - value, gradient
