"""Sample an image where a displacement, or a displacement and then an affine matrix, sends every voxel.

On the CPU, 3-D and float32, the compiled kernels of `deformgan.kernels.warp` do it with their own derivative; elsewhere
(a GPU, 2-D, float64) the plain torch functions whose names end in `_reference`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from deformgan.errors import InputError
from deformgan.kernels.lattice import adjoint
from deformgan.kernels.warp import warp_composed
from deformgan.spatial.grid import sampling_grid
from deformgan.spatial.separable import along_axis, lattice_matrix

Mode = Literal["linear", "nearest"]
Outside = float | Literal["border"]


def warp(image: Tensor, displacement: Tensor, *, mode: Mode = "linear", outside: Outside = 0.0) -> Tensor:
    """image(p + u(p)) for every voxel p of the displacement's grid -> (B, C, *grid), differentiable by both.

    image: (B, C, *spatial), 2-D or 3-D.  displacement: (B, d, *grid), components z, y, x (2-D: y, x), in voxels of the
    image, whose voxel 0 is also voxel 0 of the grid.  mode: "nearest" keeps any dtype and has no derivative.
    A point outside [-0.5, n - 0.5) takes `outside`, or with "border" the nearest border value.
    Raises InputError where batch or dimension do not agree.
    """
    _check(image, displacement)
    if mode == "nearest":
        return _nearest(image, displacement, outside)
    matrix = np.eye(displacement.shape[1] + 1)
    return warp_through(image, matrix, displacement, 1, tuple(displacement.shape[2:]), outside=outside)[0]


def warp_through(
    image: Tensor,
    matrix_zyx: NDArray[np.float64],
    lattice_displacement: Tensor,
    factor: int | tuple[int, ...],
    shape: tuple[int, ...],
    *,
    outside: Outside = 0.0,
) -> tuple[Tensor, Tensor]:
    """image(M (p + U(p))) on an output grid of `shape` -> (warped (B, C, *shape), inside bool (B, 1, *shape)).

    matrix_zyx: (d, d + 1) or (d + 1, d + 1), output voxel index -> image voxel index, both z, y, x.
    lattice_displacement: (B, d, *nodes), components z, y, x in voxels of the output grid; node k sits at output index
    factor * k + (factor - 1) / 2, U is linear between nodes and constant beyond the outermost.
    inside: the sampled point lies in [-0.5, n - 0.5) on every axis; elsewhere `outside` holds, as in `warp`.
    Differentiable by the image and the lattice.  Raises InputError where batch or dimension do not agree.
    """
    _check(image, lattice_displacement)
    factors = (factor,) * len(shape) if isinstance(factor, int) else factor
    if not compiled(image, lattice_displacement):
        return warp_through_reference(image, matrix_zyx, lattice_displacement, factors, shape, outside=outside)
    warped, inside = _WarpThrough.apply(image, matrix_zyx, lattice_displacement, factors, shape, outside)
    return warped, inside


def compiled(*tensors: Tensor) -> bool:
    """Whether the compiled kernels serve these (B, C, Z, Y, X) tensors: all on the CPU, 3-D and float32."""
    return all(t.device.type == "cpu" and t.dtype == torch.float32 and t.ndim == 5 for t in tensors)


def warp_reference(image: Tensor, displacement: Tensor, *, outside: Outside = 0.0) -> Tensor:
    """`warp` (linear) in plain torch: 2-D or 3-D, any float dtype, any device."""
    matrix, shape = np.eye(displacement.shape[1] + 1), tuple(displacement.shape[2:])
    return warp_through_reference(image, matrix, displacement, (1,) * len(shape), shape, outside=outside)[0]


def warp_through_reference(
    image: Tensor,
    matrix_zyx: NDArray[np.float64],
    lattice_displacement: Tensor,
    factors: tuple[int, ...],
    shape: tuple[int, ...],
    *,
    outside: Outside = 0.0,
) -> tuple[Tensor, Tensor]:
    """`warp_through` in plain torch: 2-D or 3-D, any float dtype, any device."""
    dense = lattice_displacement
    for axis, (size, factor) in enumerate(zip(shape, factors, strict=True), start=2):
        if dense.shape[axis] != size or factor != 1:
            dense = along_axis(dense, lattice_matrix(size, dense.shape[axis], factor), axis)
    points = dense + voxel_indices(shape, like=dense)
    matrix = torch.as_tensor(matrix_zyx, dtype=points.dtype, device=points.device)[: len(shape)]
    offset = matrix[:, -1].reshape(1, -1, *[1] * len(shape))
    points = torch.einsum("ij,bj...->bi...", matrix[:, :-1], points) + offset
    inside = _inside(points, tuple(image.shape[2:]))
    grid = sampling_grid(points, tuple(image.shape[2:]))
    warped = functional.grid_sample(image, grid, "bilinear", padding_mode="border", align_corners=False)
    return warped if outside == "border" else torch.where(inside, warped, float(outside)), inside


def voxel_indices(shape: tuple[int, ...], *, like: Tensor) -> Tensor:
    """Index of every voxel, (d, *shape), components z, y, x; dtype and device of `like`."""
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


class SpatialTransformer(nn.Module):
    """`warp` as a layer: (image, displacement) -> warped.

    >>> import torch
    >>> from deformgan import SpatialTransformer
    >>> image = torch.arange(4.0 * 4 * 4).view(1, 1, 4, 4, 4)
    >>> displacement = torch.zeros(1, 3, 4, 4, 4, requires_grad=True)     # voxels, components z, y, x
    >>> warped = SpatialTransformer(outside="border")(image, displacement)
    >>> torch.equal(warped, image), torch.autograd.grad(warped.sum(), displacement)[0].shape
    (True, torch.Size([1, 3, 4, 4, 4]))
    """

    def __init__(self, *, mode: Mode = "linear", outside: Outside = 0.0) -> None:
        super().__init__()
        self.mode: Mode = mode
        self.outside: Outside = outside

    def forward(self, image: Tensor, displacement: Tensor) -> Tensor:
        """image (B, C, *spatial), displacement (B, d, *grid) in voxels -> (B, C, *grid)."""
        return warp(image, displacement, mode=self.mode, outside=self.outside)


class _WarpThrough(torch.autograd.Function):
    """The kernel and its derivative; the slope of the image is computed in the forward pass, where it costs least."""

    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        matrix: NDArray[np.float64],
        lattice: Tensor,
        factors: tuple[int, int, int],
        shape: tuple[int, int, int],
        outside: Outside,
    ) -> tuple[Tensor, Tensor]:
        batch, channels = image.shape[:2]
        out = np.empty((batch, channels, *shape), np.float32)
        inside = np.empty((batch, 1, *shape), np.bool_)
        slope = np.empty((batch, channels, 3, *shape), np.float32) if ctx.needs_input_grad[2] else None
        border = outside == "border"
        images, fields = image.detach().contiguous().numpy(), lattice.detach().contiguous().numpy()
        for b, c in np.ndindex(batch, channels):
            warp_composed(
                images[b, c],
                matrix,
                fields[b],
                out[b, c],
                gradient=None if slope is None else slope[b, c],
                inside=inside[b, 0],
                factors=factors,
                outside=0.0 if border else float(outside),
                border=border,
            )
        ctx.matrix, ctx.factors, ctx.shape, ctx.outside = matrix, factors, shape, outside
        ctx.save_for_backward(image, lattice, None if slope is None else torch.from_numpy(slope))
        valid = torch.from_numpy(inside)
        ctx.mark_non_differentiable(valid)
        return torch.from_numpy(out), valid

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        image, lattice, slope = ctx.saved_tensors
        by_image = _gradient_by_image(ctx, image, lattice, gradient) if ctx.needs_input_grad[0] else None
        by_lattice = None
        if ctx.needs_input_grad[2]:
            nodes, weights, slopes = tuple(lattice.shape[2:]), gradient.contiguous().numpy(), slope.numpy()
            pairs = zip(slopes, weights, strict=True)
            by_lattice = torch.from_numpy(np.stack([_pull_back(s, w, ctx.factors, nodes) for s, w in pairs]))
        return by_image, None, by_lattice, None, None, None


def _pull_back(
    slopes: NDArray[np.float32],
    weights: NDArray[np.float32],
    factors: tuple[int, int, int],
    nodes: tuple[int, int, int],
) -> NDArray[np.float32]:
    """Derivative by one lattice (3, *nodes): slopes (C, 3, Z, Y, X) by weights (C, Z, Y, X), summed over C."""
    total = adjoint(slopes[0], factors, nodes, weights[0])
    for slope, weight in zip(slopes[1:], weights[1:], strict=True):
        total += adjoint(slope, factors, nodes, weight)
    return total


def _gradient_by_image(ctx: Any, image: Tensor, lattice: Tensor, gradient: Tensor) -> Tensor:
    """Derivative by the image's voxels, by the torch twin."""
    with torch.enable_grad():
        leaf = image.detach().requires_grad_()
        args = (leaf, ctx.matrix, lattice.detach(), ctx.factors, ctx.shape)
        warped, _ = warp_through_reference(*args, outside=ctx.outside)
        return torch.autograd.grad(warped, leaf, gradient)[0]


def _nearest(image: Tensor, displacement: Tensor, outside: Outside) -> Tensor:
    shape = tuple(image.shape[2:])
    points = displacement + voxel_indices(tuple(displacement.shape[2:]), like=displacement)
    flat = torch.zeros_like(points[:, 0], dtype=torch.int64)
    for axis, size in enumerate(shape):
        flat = flat * size + (points[:, axis] + 0.5).floor().clamp(0, size - 1).long()
    index = flat.reshape(flat.shape[0], 1, -1).expand(-1, image.shape[1], -1)
    values = image.flatten(2).gather(2, index).reshape(*image.shape[:2], *displacement.shape[2:])
    if outside == "border":
        return values
    return torch.where(_inside(points, shape), values, torch.as_tensor(outside, dtype=image.dtype, device=image.device))


def _inside(points: Tensor, shape: tuple[int, ...]) -> Tensor:
    """bool (B, 1, *grid): the point (B, d, *grid), in voxels, lies in [-0.5, n - 0.5) on every axis."""
    within = [(points[:, a] >= -0.5) & (points[:, a] < n - 0.5) for a, n in enumerate(shape)]
    return torch.stack(within, 1).all(1, keepdim=True)


def _check(image: Tensor, displacement: Tensor) -> None:
    d = image.ndim - 2
    agree = image.ndim == displacement.ndim and displacement.shape[1] == d and image.shape[0] == displacement.shape[0]
    if d not in (2, 3) or not agree:
        raise InputError(
            f"image (B, C, *spatial) and displacement (B, d, *grid) must agree in batch and dimension (2-D or 3-D); "
            f"got {tuple(image.shape)} and {tuple(displacement.shape)}"
        )
