"""Smooth an image, and shrink it over the same field of view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from deformgan.errors import InputError
from deformgan.kernels.smooth import gaussian
from deformgan.spatial.separable import along_axis, gaussian_matrix, shrinking_matrix
from deformgan.spatial.warp import compiled


def smooth_and_shrink(image: Tensor, factors: Sequence[float]) -> Tensor:
    """The image (B, C, *spatial) on a grid `factors` (z, y, x; each >= 1) times coarser over the same field of view.

    The size is `shrunk_shape`; the voxels of an axis grow by exactly n / m, n old, m new voxels, and the outer faces
    stay (align_corners=False).  A Gaussian comes before the linear sampling; its sigma = sqrt((f^2 - 1) / (8 ln 2))
    old voxels, f = n / m, brings a point spread of one old voxel to one new voxel.  Differentiable.
    Source: Cardoso et al., MICCAI 2015 (scale factor point spread function matching).
    """
    for axis, target in enumerate(shrunk_shape(tuple(image.shape[2:]), factors), start=2):
        size = image.shape[axis]
        if target != size:
            sigma = math.sqrt(((size / target) ** 2 - 1) / (8 * math.log(2)))
            image = along_axis(image, shrinking_matrix(size, target, sigma), axis)
    return image


def shrunk_shape(shape: Sequence[int], factors: Sequence[float]) -> tuple[int, ...]:
    """Voxels along each axis after shrinking: shape / factors to the nearest integer, at least 1."""
    if len(shape) != len(factors) or min(factors) < 1:
        raise InputError(f"factors must be {len(shape)} numbers of 1 or more, along z, y, x; got {tuple(factors)}")
    return tuple(max(1, math.floor(n / f + 0.5)) for n, f in zip(shape, factors, strict=True))


def gaussian_smooth(tensor: Tensor, sigma: float | Sequence[float]) -> Tensor:
    """Gaussian of (B, C, *spatial), sigma in voxels (one, or along z, y, x), cut at 3 sigma; same shape.

    The weights are renormalised at the borders, so a constant stays a constant.  Differentiable.
    """
    d = tensor.ndim - 2
    along = (float(sigma),) * d if isinstance(sigma, (int, float)) else tuple(float(s) for s in sigma)
    if len(along) != d or min(along) < 0:
        raise InputError(f"sigma must be one number, or {d} along z, y, x, none negative; got {sigma}")
    if compiled(tensor):
        smoothed: Tensor = _GaussianSmooth.apply(tensor, along)
        return smoothed
    return gaussian_smooth_reference(tensor, along)


def gaussian_smooth_reference(tensor: Tensor, sigma: Sequence[float]) -> Tensor:
    """`gaussian_smooth` in plain torch: 2-D or 3-D, any float dtype, any device."""
    for axis, s in enumerate(sigma, start=2):
        if s > 0:
            tensor = along_axis(tensor, gaussian_matrix(tensor.shape[axis], s), axis)
    return tensor


class _GaussianSmooth(torch.autograd.Function):
    """The kernel; its derivative is the transposed operator."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, sigma: tuple[float, float, float]) -> Tensor:
        ctx.sigma = sigma
        return _smooth(tensor, sigma, adjoint=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _smooth(gradient, ctx.sigma, adjoint=True), None


def _smooth(tensor: Tensor, sigma: tuple[float, float, float], *, adjoint: bool) -> Tensor:
    stacked = tensor.detach().contiguous().flatten(0, 1).numpy()
    smoothed: np.ndarray[Any, np.dtype[np.float32]] = gaussian(stacked, sigma, adjoint=adjoint)
    return torch.from_numpy(smoothed).reshape(tensor.shape)
