"""Compose, invert, exponentiate and resize displacement fields.

A field is (B, d, *spatial), components z, y, x (2-D: y, x), in voxels of its own grid: x -> x + u(x), u linear between
voxels and, beyond the grid, the value at its border.  3-D float32 fields on the CPU go through the compiled kernels of
`deformgan.kernels.field`, all others through plain torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from deformgan.errors import InputError
from deformgan.kernels import field as kernels
from deformgan.kernels.warp import resize as resize_kernel
from deformgan.spatial.warp import compiled, warp_reference


def compose(u: Tensor, v: Tensor) -> Tensor:
    """w(x) = v(x) + u(x + v(x)), the field that applies v first and then u; differentiable by both.

    Raises InputError unless both have the same shape.
    """
    _check(u)
    if u.shape != v.shape:
        raise InputError(f"fields to compose must lie on one grid; got {tuple(u.shape)} and {tuple(v.shape)}")
    if compiled(u, v):
        composed: Tensor = _Compose.apply(u, v)
        return composed
    return compose_reference(u, v)


def compose_reference(u: Tensor, v: Tensor) -> Tensor:
    """`compose` in plain torch: 2-D or 3-D, any float dtype, any device."""
    return v + warp_reference(u, v, outside="border")


def invert(u: Tensor, *, iterations: int = 50, tolerance: float = 1e-3) -> tuple[Tensor, Tensor]:
    """The inverse v, v(x) + u(x + v(x)) = 0, and the length in voxels of what is left of that sum, (B, 1, *spatial).

    Fixed point v <- v - t (v + u(x + v)), t = 1, halved where the remainder grows; it stops below `tolerance` voxels.
    No derivative.  Where u folds there is no inverse, and the remainder says so.
    Source: Chen et al., Medical Physics 35(1), 2008 (fixed point); the damping is ours.
    """
    _check(u)
    u = u.detach()
    if not compiled(u):
        return _invert_reference(u, iterations, tolerance)
    results = [kernels.invert(one, iterations, tolerance) for one in u.contiguous().numpy()]
    inverse, residual = (torch.from_numpy(np.stack(part)) for part in zip(*results, strict=True))
    return inverse, residual[:, None]


def exponential(velocity: Tensor, *, steps: int = 6) -> Tensor:
    """Displacement of the flow of a stationary velocity field after unit time; exponential(-v) is its inverse.

    Scaling and squaring: v / 2**steps composed with itself `steps` times; differentiable.
    Source: Arsigny et al., MICCAI 2006.
    """
    field = velocity * 0.5**steps
    for _ in range(steps):
        field = compose(field, field)
    return field


def resize(u: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same displacement on a grid of `shape` over the same field of view (align_corners=False), in its voxels.

    Linear interpolation without smoothing; each component is multiplied by the ratio of the sizes along its axis.
    Differentiable.
    """
    _check(u)
    if u.shape[2:] == tuple(shape):
        return u
    if compiled(u) and not u.requires_grad:
        depth, height, width = shape
        resized = [resize_kernel(one, (depth, height, width)) for one in u.contiguous().numpy()]
        return torch.from_numpy(np.stack(resized))
    return resize_reference(u, shape)


def resize_reference(u: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`resize` in plain torch: 2-D or 3-D, any float dtype, any device; differentiable."""
    old = tuple(u.shape[2:])
    ratio = torch.tensor([n / m for n, m in zip(shape, old, strict=True)], dtype=u.dtype, device=u.device)
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    resized = functional.interpolate(u, size=tuple(shape), mode=mode, align_corners=False)
    return resized * ratio.reshape(1, -1, *[1] * len(shape))


class _Compose(torch.autograd.Function):
    """The kernel and its derivatives by both fields; nothing but the two fields is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(u, v)
        pairs = zip(u.detach().contiguous().numpy(), v.detach().contiguous().numpy(), strict=True)
        return torch.from_numpy(np.stack([kernels.compose(a, b) for a, b in pairs]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        fields = [t.detach().contiguous().numpy() for t in (*ctx.saved_tensors, gradient)]
        by_u = by_v = None
        if ctx.needs_input_grad[0]:
            by_u = torch.from_numpy(np.stack([kernels.splat(g, v) for _, v, g in zip(*fields, strict=True)]))
        if ctx.needs_input_grad[1]:
            by_v = torch.from_numpy(np.stack([kernels.compose_gradient(*one) for one in zip(*fields, strict=True)]))
        return by_u, by_v


def _invert_reference(u: Tensor, iterations: int, tolerance: float) -> tuple[Tensor, Tensor]:
    inverse, rate, before = torch.zeros_like(u), 1.0, float("inf")
    for _ in range(iterations):
        remainder = compose_reference(u, inverse)
        worst = float(remainder.norm(dim=1).max())
        if worst <= tolerance:
            break
        rate = rate / 2 if worst > before else rate
        before = worst
        inverse = inverse - rate * remainder
    return inverse, compose_reference(u, inverse).norm(dim=1, keepdim=True)


def _check(u: Tensor) -> None:
    if u.ndim not in (4, 5) or u.shape[1] != u.ndim - 2:
        raise InputError(f"a field must be (B, d, *spatial) with d = 2 or 3 components; got {tuple(u.shape)}")
