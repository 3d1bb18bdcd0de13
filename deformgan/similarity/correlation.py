"""Correlation of intensities: over the whole image (NCC) and over a small window around each voxel (LCC)."""

from __future__ import annotations

import torch
from torch import Tensor

from deformgan.kernels.local_correlation import fixed_windows, local_correlation
from deformgan.similarity.cached import CachedLoss, Counts, Float, Slope, runs_compiled, symmetric_loss, volumes
from deformgan.similarity.windows import box_sum, check_pair, shift_and_scale, weighted_mean

FLOOR = 1e-4  # share of an image's variance below which a window counts as flat


def ncc_loss(
    warped: Tensor, fixed: Tensor, *, mask: Tensor | None = None, weight: Tensor | None = None, squared: bool = False
) -> Tensor:
    """1 - NCC over the domain (or the mask): 0 = a rising line relates the two, 1 = unrelated or flat, 2 = falling.

    Both (B, 1, *spatial), 2-D or 3-D -> scalar, the mean over B; with `squared` 1 - NCC^2, blind to the sign.
    mask, weight: (B or 1, 1, *spatial), multiplied.
    """
    check_pair(warped, fixed)
    masks = [w.to(warped).expand_as(warped).flatten(1) for w in (mask, weight) if w is not None]
    rho = correlation(warped.flatten(1), fixed.flatten(1), masks)
    return 1 - (rho * rho if squared else rho).mean()


def correlation(a: Tensor, b: Tensor, weights: list[Tensor]) -> Tensor:
    """Correlation of a, b (B, N), weighted by the product of weights (B, N) -> (B,); 0, no slope, if one is flat."""
    if weights:
        weight = weights[0] if len(weights) == 1 else weights[0] * weights[1]
        share = weight.sum(1, keepdim=True)
        weight = weight / torch.where(share > 0, share, torch.ones_like(share))
        m, n = (a - (a * weight).sum(1, keepdim=True), b - (b * weight).sum(1, keepdim=True))
        wm = weight * m
        cross, var_a, var_b = (wm * n).sum(1), (wm * m).sum(1), (weight * n * n).sum(1)
    else:
        m, n = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
        cross, var_a, var_b = (m * n).mean(1), (m * m).mean(1), (n * n).mean(1)
    # A constant image keeps the rounding of its mean: a share of eps^2 of its square, where anything real is far above.
    least = [100 * torch.finfo(x.dtype).eps ** 2 * (x.detach() ** 2).mean(1) for x in (a, b)]
    flat = (var_a <= least[0]) | (var_b <= least[1])
    one = torch.ones_like(var_a)
    rho = cross * torch.where(flat, one, var_a).rsqrt() * torch.where(flat, one, var_b).rsqrt()
    return torch.where(flat, torch.zeros_like(rho), rho)


def lcc_loss(
    warped: Tensor,
    fixed: Tensor,
    *,
    size: int = 7,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    squared: bool = True,
    eps: float = FLOOR,
) -> Tensor:
    """1 - mean local correlation over windows of size^d voxels (odd), cut at the border; a flat window counts 0.

    Both (B, 1, *spatial), 2-D or 3-D, any intensity unit -> scalar, the mean over B.  The correlation is squared unless
    told otherwise, as the sign of the contrast is unknown across modalities: 0 = locally linear, 1 = unrelated.
    mask: (B or 1, 1, *spatial), weight of each window in the mean.  weight: same shape, weight of each voxel inside the
    windows and of its own window in the mean, for what lies outside the moving image's field of view; held constant in
    the derivative.  eps: variance, as a share of the whole image's (of every third voxel), added to each window's.
    For a fixed image that stays, LocalCorrelation is quicker.
    """
    check_pair(warped, fixed, size)
    if not runs_compiled(warped, fixed):
        return _lcc_reference(warped, fixed, size, mask, weight, squared, eps)
    loss = LocalCorrelation(fixed, size=size, mask=mask, squared=squared, eps=eps)(warped, weight)
    if not fixed.requires_grad:
        return loss
    mirror = LocalCorrelation(warped, size=size, mask=mask, squared=squared, eps=eps)
    return symmetric_loss(loss, mirror(fixed, weight))


class LocalCorrelation(CachedLoss):
    """lcc_loss against a fixed image whose window sums are kept, for loops over many warped images."""

    def __init__(
        self, fixed: Tensor, size: int = 7, mask: Tensor | None = None, *, squared: bool = True, eps: float = FLOOR
    ) -> None:
        """All as in lcc_loss; the arrays kept are three times the fixed image."""
        check_pair(fixed, fixed, size)
        super().__init__(fixed, mask)
        self.size, self.squared, self.eps = size, squared, eps
        self._windows = [fixed_windows(f, size, eps) for f in volumes(self.fixed)] if self.compiled else []

    def _reference(self, warped: Tensor, weight: Tensor | None) -> Tensor:
        return _lcc_reference(warped, self.fixed, self.size, self.mask, weight, self.squared, self.eps)

    def _compiled(self, b: int, warped: Float, counts: Counts, slope: Slope) -> tuple[float, Float]:
        value, gradient = local_correlation(
            warped,
            self._windows[b],
            squared=self.squared,
            mask=counts.mask,
            weight=counts.weight,
            spans=counts.spans,
            derivative=slope.wanted,
            times=-slope.times,
            onto=slope.onto,
        )
        return 1 - value, gradient


def _lcc_reference(
    warped: Tensor, fixed: Tensor, size: int, mask: Tensor | None, weight: Tensor | None, squared: bool, eps: float
) -> Tensor:
    """The twin of the kernel in plain torch, any device and dtype."""
    (shift_m, scale_m), (shift_f, scale_f) = (shift_and_scale(warped), shift_and_scale(fixed))
    m, f = (warped - shift_m) * scale_m, (fixed - shift_f) * scale_f
    w = torch.ones_like(m) if weight is None else weight.to(m).expand_as(m)
    wm, wf = w * m, w * f
    n, s_m, s_f, s_mm, s_ff, s_mf = box_sum(torch.cat([w, wm, wf, wm * m, wf * f, wm * f], 1), size).split(1, 1)
    n = n.clamp(min=1e-3)
    cross = s_mf - s_m * s_f / n
    variance_m = (s_mm - s_m * s_m / n).clamp(min=0) + eps * n
    variance_f = (s_ff - s_f * s_f / n).clamp(min=0) + eps * n
    rho = cross * cross / (variance_m * variance_f) if squared else cross * (variance_m * variance_f).rsqrt()
    return 1 - weighted_mean(rho, mask, weight)
