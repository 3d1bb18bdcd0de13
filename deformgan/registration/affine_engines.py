"""Loss of an affine map and its derivative by the map's free numbers, by two engines with one interface.

    dC/dq = C'(F, M(T x)) . grad M(T x) . dT/dp . dp/dq                                        (docs/affine.md)

`AnalyticEngine` sums this chain by itself, in one pass over the images for l2, cauchy and ncc, from samples and
slopes kept for the others; `AutogradEngine` leaves it to torch. Both agree to rounding in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deformgan.kernels.affine_samples import AffineSamples
from deformgan.kernels.affine_sums import AffineSums, Loss, affine_sums
from deformgan.similarity.objective import Objective, Options
from deformgan.spatial.affine import Model, derivatives, from_parameters, spread_matrix
from deformgan.spatial.grid import sampling_grid
from deformgan.spatial.ranges import Mapping

Array = NDArray[np.float64]
VoxelLoss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
FUSED: tuple[Loss, ...] = ("l2", "cauchy", "ncc")
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

    def extras(self) -> dict[str, Any]:
        """weight, seen and slopes as the kernels take them."""
        extras = {"weight": self.weight, "seen": self.seen, "slopes": self.slopes}
        return {name: None if image is None else image.numpy() for name, image in extras.items()}


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
        """loss: l2, cauchy or ncc (fused), the name of any similarity, or a function of (warped, fixed) that
        returns the loss of each voxel and its derivative by warped.  scale: of cauchy, in units of intensity."""
        self.scene, self.motion = scene, motion
        self.fused: Loss | None = next((name for name in FUSED if name == loss), None)
        self.measure = Fused(scene, self.fused, scale) if self.fused else Dense(scene, loss, scale)

    def __call__(self, q: Array) -> tuple[float, Array]:
        """Loss and its derivative by q."""
        loss, by_matrix = self.measure(self._pose(q))
        return loss, np.einsum("nij,ij->n", self._chain(q), by_matrix)

    def curved(self, q: Array) -> tuple[float, Array, Array]:
        """Loss, derivative and Gauss-Newton's approximation of the second derivative by q; l2 and cauchy only."""
        sums = self.sums(q, curvature=True)
        assert sums.curvature is not None
        chain = self._chain(q)
        rows = chain.reshape(len(q), 12)
        return sums.loss, np.einsum("nij,ij->n", chain, sums.by_matrix), rows @ sums.curvature @ rows.T

    def sums(self, q: Array, *, curvature: bool = False) -> AffineSums:
        """All that one pass finds; fused losses only."""
        assert isinstance(self.measure, Fused)
        return self.measure.sums(self._pose(q), curvature=curvature)

    def _pose(self, q: Array) -> Array:
        pose: Array = self.scene.from_world @ self.motion.matrix(q) @ self.scene.to_world
        return pose

    def _chain(self, q: Array) -> Array:
        """d (index matrix) / dq, (n, 3, 4)."""
        chain: Array = (self.scene.from_world @ self.motion.derivative(q) @ self.scene.to_world)[:, :3]
        return chain


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


class Fused:
    """Index matrix -> a loss of `affine_sums` and its derivative by the matrix, in one pass."""

    def __init__(self, scene: Scene, loss: Loss, scale: float) -> None:
        """As AnalyticEngine."""
        self._images = scene.fixed.numpy(), scene.moving.numpy()
        self._loss, self._options = loss, {"scale": scale, "border": scene.border, **scene.extras()}

    def sums(self, pose: Array, *, curvature: bool = False) -> AffineSums:
        """All that the pass finds."""
        return affine_sums(*self._images, pose, self._loss, curvature=curvature, **self._options)

    def __call__(self, pose: Array) -> tuple[float, Array]:
        """As the class says."""
        sums = self.sums(pose)
        return sums.loss, sums.by_matrix


class Dense:
    """The same of any other similarity, or of the caller's loss: sample, differentiate, add up."""

    def __init__(self, scene: Scene, loss: str | VoxelLoss, scale: float) -> None:
        """As AnalyticEngine."""
        self._loss_of = dense_loss(loss, scene, scale)
        self._samples = AffineSamples(
            scene.moving.numpy(), tuple(scene.fixed.shape), border=scene.border, **scene.extras()
        )

    def __call__(self, pose: Array) -> tuple[float, Array]:
        """As Fused."""
        samples = self._samples
        samples.sample(pose)
        loss, by_warped = self._loss_of(torch.from_numpy(samples.warped), torch.from_numpy(samples.weight))
        return loss, samples.by_matrix(by_warped.numpy())


def sampled_by_torch(scene: Scene, pose: Tensor) -> tuple[Tensor, Tensor]:
    """(warped, weight), each (Z, Y, X), as in AffineSamples, by torch alone: differentiable by the pose (4, 4)."""
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
    options = Options(
        scale=scale, squared=loss != "ncc", warped_range=(float(scene.moving.min()), float(scene.moving.max()))
    )
    return Objective({loss: 1.0}, _batched(scene.fixed), options=options)


def _batched(image: Tensor) -> Tensor:
    """(Z, Y, X) -> (1, 1, Z, Y, X), or (1, 1, Y, X) for one slice."""
    return image[None] if image.shape[0] == 1 else image[None, None]
