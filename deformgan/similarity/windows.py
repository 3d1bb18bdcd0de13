"""Sums over boxes in plain torch, and the scale of an image: shared by the local similarities and their twins."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from deformgan.errors import InputError


def box_sum(images: Tensor, size: int) -> Tensor:
    """Sum of images (B, C, *spatial), 2-D or 3-D, over the size^d window (odd) around each voxel, cut at the border."""
    dims = images.ndim - 2
    pool = functional.avg_pool2d if dims == 2 else functional.avg_pool3d
    for axis in range(dims):
        edge = [size // 2 if a == axis else 0 for a in reversed(range(dims)) for _ in range(2)]
        window = [size if a == axis else 1 for a in range(dims)]
        images = pool(functional.pad(images, edge), window, stride=1) * size
    return images


def shift_and_scale(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation of every third voxel of each image (B, C, *spatial) -> (B, 1, ...), detached."""
    thirds = (slice(None), slice(None), *(slice(n % 3 // 2, None, 3) for n in images.shape[2:]))
    some = images.detach()[thirds].flatten(1).double()
    spread = some.std(dim=1, correction=0)
    scale = torch.where(spread > 1e-20, 1 / spread.clamp(min=1e-20), torch.ones_like(spread))
    ones = (1,) * (images.ndim - 1)
    return some.mean(1).view(-1, *ones).to(images.dtype), scale.view(-1, *ones).to(images.dtype)


def check_pair(warped: Tensor, fixed: Tensor, size: int | None = None) -> None:
    """Refuse what is not two (B, 1, *spatial) tensors of one shape, 2-D or 3-D, or a window that is not odd."""
    if warped.shape != fixed.shape or warped.ndim not in (4, 5) or warped.shape[1] != 1:
        expected = "two tensors (B, 1, *spatial) of one shape, 2-D or 3-D"
        raise InputError(f"warped, fixed: expected {expected}; got {tuple(warped.shape)} and {tuple(fixed.shape)}")
    if size is not None and (size < 1 or size % 2 == 0):
        raise InputError(f"size: expected an odd number of voxels; got {size}")


def weighted_mean(values: Tensor, *weights: Tensor | None) -> Tensor:
    """Mean of values (B, 1, *spatial), weighted by the product of `weights`, then over B; 0 where they are all zero."""
    given = [w.to(values.dtype) for w in weights if w is not None]
    if not given:
        return values.mean()
    weight = given[0] if len(given) == 1 else given[0] * given[1]
    weight = weight.expand_as(values)
    share = weight.flatten(1).sum(1)
    total = (values * weight).flatten(1).sum(1)
    return (total / torch.where(share > 0, share, torch.ones_like(share))).mean()
