"""Penalties on a displacement u (B, d, *spatial), components z y x, in voxels of its grid; 2-D or 3-D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deformgan.errors import InputError
from deformgan.spatial.jacobian import jacobian_determinant


def diffusion_loss(displacement: Tensor, *, spacing: Sequence[float] | None = None) -> Tensor:
    """Mean of |grad u|^2 by forward differences, the sum over components and axes -> scalar; 0 = a shift.

    spacing: mm along z, y, x, by which u becomes mm and its derivatives those of the map in mm (no unit); none = 1.
    Source: the smoothness term of Deform-GAN (Zhang et al. 2020), as a mean.
    """
    u, steps = _in_mm(displacement, spacing, least=2)
    slopes = [u.diff(dim=axis) / step for axis, step in enumerate(steps, start=2)]
    return torch.stack([s.square().sum(1).mean() for s in slopes]).sum()


def bending_loss(displacement: Tensor, *, spacing: Sequence[float] | None = None) -> Tensor:
    """Mean of the squared second derivatives of u, mixed ones twice, over the inner voxels; 0 = an affine map.

    spacing as in diffusion_loss; the unit is then mm^-2.  Raises InputError for an axis of fewer than three voxels.
    Source: Rueckert et al. 1999, Eq. 4, with central differences.
    """
    u, steps = _in_mm(displacement, spacing, least=3)
    axes, total = range(len(steps)), u.new_zeros(())
    for a in axes:
        pure = _inner(u, {a: 1}) - 2 * _inner(u, {}) + _inner(u, {a: -1})
        total = total + (pure / steps[a] ** 2).square().sum(1).mean()
        for b in range(a + 1, len(steps)):
            mixed = _inner(u, {a: 1, b: 1}) - _inner(u, {a: 1, b: -1}) - _inner(u, {a: -1, b: 1})
            mixed = (mixed + _inner(u, {a: -1, b: -1})) / (4 * steps[a] * steps[b])
            total = total + 2 * mixed.square().sum(1).mean()
    return total


def folding_loss(displacement: Tensor, *, margin: float = 0.0) -> Tensor:
    """Mean of max(0, margin - det J), J the Jacobian of x + u(x); 0 = no voxel's volume falls below `margin`.

    The determinant is the same in voxels and in mm.
    """
    return (margin - jacobian_determinant(displacement)).clamp(min=0).mean()


def _in_mm(displacement: Tensor, spacing: Sequence[float] | None, least: int) -> tuple[Tensor, list[float]]:
    d = displacement.ndim - 2
    if d not in (2, 3) or displacement.shape[1] != d or min(displacement.shape[2:]) < least:
        raise InputError(
            f"displacement: expected (B, d, *spatial), d = 2 or 3, with {least} voxels or more along each axis; "
            f"got {tuple(displacement.shape)}"
        )
    if spacing is None:
        return displacement, [1.0] * d
    if len(spacing) != d or min(spacing) <= 0:
        raise InputError(f"spacing: expected {d} positive numbers of mm, along z, y, x; got {tuple(spacing)}")
    return displacement * displacement.new_tensor(spacing).view(1, d, *[1] * d), list(spacing)


def _inner(u: Tensor, steps: dict[int, int]) -> Tensor:
    """u at the inner voxels, moved by steps[axis] along each spatial axis."""
    for axis in range(u.ndim - 2):
        u = u.narrow(axis + 2, 1 + steps.get(axis, 0), u.shape[axis + 2] - 2)
    return u
