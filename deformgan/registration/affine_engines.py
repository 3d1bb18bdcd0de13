"""Loss of an affine map and its derivative by the map's free numbers, by two engines with one interface.

    dC/dq = C'(F, M(T x)) . grad M(T x) . dT/dp . dp/dq                                        (docs/affine.md)

`AnalyticEngine` sums this chain by itself, in one pass over the images for l2, cauchy and ncc, two for mi and nmi;
`AutogradEngine` leaves it to torch and takes any loss. Both agree to rounding in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deformgan.kernels.affine_histogram import affine_histogram
from deformgan.kernels.affine_sums import AffineSums, Loss, affine_sums
from deformgan.kernels.warp import warp_composed
from deformgan.similarity.information import information_of, whole_bins
from deformgan.similarity.objective import Objective, Options
from deformgan.spatial.affine import Model, derivatives, from_parameters, spread_matrix
from deformgan.spatial.grid import sampling_grid
from deformgan.spatial.ranges import Mapping

Array = NDArray[np.float64]
VoxelLoss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
FUSED: tuple[Loss, ...] = ("l2", "cauchy", "ncc")
COUNTED = ("mi", "nmi")  # of a joint histogram
SQUARED: tuple[Loss, ...] = ("l2", "cauchy")  # sums of squares, reweighted for cauchy: these have a curvature


@dataclass(frozen=True)
class Scene:
    """Two images at one resolution.

    fixed, moving: (Z, Y, X), Z = 1 for a slice; float32, or float64.  to_world: fixed index z y x -> LPS mm;
    from_world: LPS mm -> moving index z y x, both 4x4.  weight, seen: the fixed and the moving image's masks or None.
    slopes: (3, Z, Y, X) of the moving image, per voxel, z y x, or None for the interpolant's own.
    border: points outside the moving image read its border; else they do not count.
    """

    fixed: Tensor
    moving: Tensor
    to_world: Array
    from_world: Array
    weight: Tensor | None = None
    seen: Tensor | None = None
    slopes: Tensor | None = None
    border: bool = False


@dataclass(frozen=True)
class Motion:
    """Free numbers q -> 4x4 matrix, LPS mm, fixed point -> moving point."""

    model: Model
    centre: Array
    mapping: Mapping

    def matrix(self, q: Array) -> Array:
        """At q."""
        return from_parameters(self.mapping.parameters(q), self.centre, self.model)

    def derivative(self, q: Array) -> Array:
        """dMatrix/dq, (n, 4, 4)."""
        by_p = derivatives(self.mapping.parameters(q), self.centre, self.model)
        return by_p * self.mapping.slope(q)[:, None, None]

    def matrix_tensor(self, q: Tensor) -> Tensor:
        """At q, differentiable by torch."""
        full = torch.tensor(spread_matrix(self.model)).to(q) @ self.mapping.parameters_tensor(q)
        (a, b, c), zero = full[:3], full.new_zeros(())
        turn = torch.stack([torch.stack(r) for r in ((zero, -c, b), (c, zero, -a), (-b, a, zero))]).matrix_exp()
        (xy, xz, yz), one = full[9:], full.new_ones(())
        shear = torch.stack([torch.stack(r) for r in ((one, xy, xz), (zero, one, yz), (zero, zero, one))])
        linear = turn @ (shear * full[6:9].exp())
        centre = torch.from_numpy(self.centre).to(q)
        upper = torch.cat([linear, (centre + full[3:6] - linear @ centre)[:, None]], 1)
        return torch.cat([upper, full.new_tensor([[0.0, 0.0, 0.0, 1.0]])])


class Engine(Protocol):
    """What an optimiser needs."""

    def __call__(self, q: Array) -> tuple[float, Array]:
        """Loss and its derivative by q."""


class AnalyticEngine:
    """The chain by its own derivatives: compiled on a CPU."""

    def __init__(self, scene: Scene, motion: Motion, loss: str | VoxelLoss, scale: float) -> None:
        """loss: l2, cauchy, ncc, mi or nmi (fused), the name of any similarity, or a function of (warped, fixed) that
        returns the loss of each voxel and its derivative by warped.  scale: of cauchy, in units of intensity."""
        self.scene, self.motion, self.scale = scene, motion, scale
        self.fused: Loss | None = next((name for name in FUSED if name == loss), None)
        self.counted = Counted(scene, normalised=loss == "nmi") if loss in COUNTED else None
        self.loss_of = None if self.fused or self.counted else dense_loss(loss, scene, scale)
        self._sampled = Sampler(scene) if self.loss_of else None
        self._weight, self._seen, self._slopes = (
            None if image is None else image.numpy() for image in (scene.weight, scene.seen, scene.slopes)
        )

    def __call__(self, q: Array) -> tuple[float, Array]:
        """Loss and its derivative by q."""
        sums = self.sums(q)
        return sums.loss, self._by_q(q, sums)

    def curved(self, q: Array) -> tuple[float, Array, Array]:
        """Loss, derivative and Gauss-Newton's approximation of the second derivative by q; l2 and cauchy only."""
        sums = self.sums(q, curvature=True)
        assert sums.curvature is not None
        rows = self._chain(q).reshape(len(q), 12)
        return sums.loss, self._by_q(q, sums), rows @ sums.curvature @ rows.T

    def sums(self, q: Array, *, curvature: bool = False) -> AffineSums:
        """The loss and its derivatives by the index matrix."""
        scene, pose = self.scene, self._pose(q)
        if self.counted:
            return self.counted(pose)
        images = scene.fixed.numpy(), scene.moving.numpy(), pose
        if self.fused:
            return affine_sums(
                *images,
                self.fused,
                scale=self.scale,
                weight=self._weight,
                seen=self._seen,
                slopes=self._slopes,
                curvature=curvature,
                border=scene.border,
            )
        assert self.loss_of is not None and self._sampled is not None
        loss, by_warped = self.loss_of(*self._sampled(pose))
        found = affine_sums(*images, "given", derivative=by_warped.numpy(), slopes=self._slopes, border=scene.border)
        return AffineSums(loss, found.by_matrix, None, found.share)

    def _pose(self, q: Array) -> Array:
        pose: Array = self.scene.from_world @ self.motion.matrix(q) @ self.scene.to_world
        return pose

    def _chain(self, q: Array) -> Array:
        """d (index matrix) / dq, (n, 3, 4)."""
        chain: Array = (self.scene.from_world @ self.motion.derivative(q) @ self.scene.to_world)[:, :3]
        return chain

    def _by_q(self, q: Array, sums: AffineSums) -> Array:
        by_q: Array = np.einsum("nij,ij->n", self._chain(q), sums.by_matrix)
        return by_q


class AutogradEngine:
    """The same by torch alone, on any device."""

    def __init__(self, scene: Scene, motion: Motion, loss: str | VoxelLoss, scale: float) -> None:
        """As AnalyticEngine."""
        self.scene, self.motion = scene, motion
        self.value_of = torch_loss(loss, scene, scale)

    def __call__(self, q: Array) -> tuple[float, Array]:
        """Loss and its derivative by q."""
        leaf = torch.from_numpy(np.array(q, np.float64)).requires_grad_()
        from_world, to_world = (torch.from_numpy(m) for m in (self.scene.from_world, self.scene.to_world))
        loss = self.value_of(*sampled_by_torch(self.scene, from_world @ self.motion.matrix_tensor(leaf) @ to_world))
        (by_q,) = torch.autograd.grad(loss, leaf)
        return float(loss.detach()), by_q.numpy()


class Sampler:
    """The moving image under an index matrix, and what of it counts; no derivative.

    Both lie in memory that the next call uses again: fresh memory costs as much as filling it.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._compiled = scene.fixed.dtype == torch.float32 and scene.seen is None
        self._warped = torch.empty_like(scene.fixed)
        self._weight = torch.ones_like(scene.fixed) if scene.weight is None else scene.weight.clone()

    def __call__(self, pose: Array) -> tuple[Tensor, Tensor]:
        """(warped, weight), each (Z, Y, X), of a 4x4 matrix."""
        scene = self.scene
        if not self._compiled:
            with torch.no_grad():
                return sampled_by_torch(scene, torch.from_numpy(pose))
        warp_composed(
            scene.moving.numpy(),
            pose,
            None,
            self._warped.numpy(),
            weight=None if scene.border else self._weight.numpy(),
            fixed_weight=None if scene.weight is None else scene.weight.numpy(),
            border=True,
        )
        return self._warped, self._weight


class Counted:
    """MI or NMI under an index matrix: one pass counts the joint histogram, another adds up its derivative.

    The moving image's bins span its whole range, whatever part of it is sampled.
    """

    def __init__(self, scene: Scene, *, normalised: bool) -> None:
        self.scene, self.normalised, self.bins = scene, normalised, Options().bins
        low, high = moving_range(scene)
        rate = (self.bins - 3) / (high - low) if high > low else 0.0
        self._fixed = whole_bins(scene.fixed, self.bins).to(scene.fixed).numpy()
        self._moving = (1 + (scene.moving - low) * rate).numpy()
        self._slopes = None if scene.slopes is None else (scene.slopes * rate).numpy()
        self._weight, self._seen = (None if image is None else image.numpy() for image in (scene.weight, scene.seen))

    def __call__(self, pose: Array) -> AffineSums:
        """The loss and its derivatives by the index matrix."""
        images, border = (self._fixed, self._moving, pose), self.scene.border
        table = affine_histogram(*images, self.bins, weight=self._weight, seen=self._seen, border=border)
        loss, by_table = information_of(table, self.normalised)
        found = affine_sums(
            *images,
            "table",
            table=by_table,
            weight=self._weight,
            seen=self._seen,
            slopes=self._slopes,
            border=border,
        )
        return AffineSums(loss, found.by_matrix, None, found.share)


def moving_range(scene: Scene) -> tuple[float, float]:
    """Least and largest value of the moving image: the range of the bins of mi and nmi."""
    return float(scene.moving.min()), float(scene.moving.max())


def sampled_by_torch(scene: Scene, pose: Tensor) -> tuple[Tensor, Tensor]:
    """`sampled`, differentiable by the pose, in any dtype."""
    shape, image = scene.fixed.shape, scene.moving[None, None]
    axes = [torch.arange(n, dtype=image.dtype, device=image.device) for n in shape]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    points = (pose[:3, :3].to(image) @ index + pose[:3, 3:].to(image)).view(1, 3, *shape)
    warped = functional.grid_sample(
        image, sampling_grid(points, scene.moving.shape), padding_mode="border", align_corners=False
    )[0, 0]
    with torch.no_grad():
        size = points.new_tensor(scene.moving.shape).view(3, 1, 1, 1)
        weight = ((points[0] >= -0.5) & (points[0] < size - 0.5)).all(0).to(image) + float(scene.border)
        weight = weight.clamp_(max=1)
        if scene.weight is not None:
            weight = weight * scene.weight
        if scene.seen is not None:
            at = [(p + 0.5).floor().long().clamp(0, n - 1) for p, n in zip(points[0], scene.moving.shape, strict=True)]
            weight = weight * scene.seen[at[0], at[1], at[2]]
    return warped, weight


def dense_loss(loss: str | VoxelLoss, scene: Scene, scale: float) -> Callable[[Tensor, Tensor], tuple[float, Tensor]]:
    """(warped, weight) -> the loss and its derivative by warped, of whole images (Z, Y, X)."""
    if isinstance(loss, str):
        objective = _objective(loss, scene, scale)

        def named(warped: Tensor, weight: Tensor) -> tuple[float, Tensor]:
            value, _, slope = objective.with_derivative(_batched(warped), _batched(weight))
            return value, slope.reshape(warped.shape)

        return named

    def per_voxel(warped: Tensor, weight: Tensor) -> tuple[float, Tensor]:
        value, slope = loss(warped, scene.fixed)
        share = weight / weight.sum().clamp_min(1e-30)
        return float((value * share).sum()), slope * share

    return per_voxel


def torch_loss(loss: str | VoxelLoss, scene: Scene, scale: float) -> Callable[[Tensor, Tensor], Tensor]:
    """(warped, weight) -> the loss, differentiable by warped."""
    if isinstance(loss, str):
        objective = _objective(loss, scene, scale)
        return lambda warped, weight: objective(_batched(warped), _batched(weight))[0]
    return lambda warped, weight: (loss(warped, scene.fixed)[0] * weight).sum() / weight.sum().clamp_min(1e-30)


def _objective(loss: str, scene: Scene, scale: float) -> Objective:
    options = Options(scale=scale, squared=loss != "ncc", warped_range=moving_range(scene))
    return Objective({loss: 1.0}, _batched(scene.fixed), options=options)


def _batched(image: Tensor) -> Tensor:
    """(Z, Y, X) -> (1, 1, Z, Y, X), or (1, 1, Y, X) for one slice."""
    return image[None] if image.shape[0] == 1 else image[None, None]
