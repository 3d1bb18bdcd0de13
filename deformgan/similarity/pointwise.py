"""Losses of each voxel by itself, with their derivative per voxel: L1, L2 and Cauchy, for images of one modality."""

from __future__ import annotations

from torch import Tensor

from deformgan.similarity.windows import check_pair, weighted_mean


def l1(warped: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
    """|warped - fixed| of each voxel, and its derivative by warped (0 where they are equal); any shape."""
    difference = warped - fixed
    return difference.abs(), difference.sign()


def l2(warped: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
    """(warped - fixed)^2 of each voxel, and its derivative by warped; any shape."""
    difference = warped - fixed
    return difference.square(), 2 * difference


def cauchy(warped: Tensor, fixed: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """log(1 + (d / scale)^2), d = warped - fixed, of each voxel, and its derivative 2 d / (scale^2 + d^2); any shape.

    The derivative falls off beyond |d| = scale, in units of intensity, so outliers count little.
    """
    difference = warped - fixed
    square = difference.square()
    return (square / scale**2).log1p(), 2 * difference / (scale**2 + square)


def l1_loss(warped: Tensor, fixed: Tensor, *, mask: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """Mean absolute difference.  Both (B, 1, *spatial), 2-D or 3-D -> scalar, the mean over B.

    mask, weight: (B or 1, 1, *spatial), weights of each voxel in the mean, multiplied.
    """
    check_pair(warped, fixed)
    return weighted_mean(l1(warped, fixed)[0], mask, weight)


def l2_loss(warped: Tensor, fixed: Tensor, *, mask: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """Mean squared difference; all as in l1_loss."""
    check_pair(warped, fixed)
    return weighted_mean(l2(warped, fixed)[0], mask, weight)


def cauchy_loss(
    warped: Tensor, fixed: Tensor, *, scale: float = 1.0, mask: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """Mean of log(1 + (d / scale)^2), d the difference; scale in units of intensity; all else as in l1_loss."""
    check_pair(warped, fixed)
    return weighted_mean(cauchy(warped, fixed, scale)[0], mask, weight)
