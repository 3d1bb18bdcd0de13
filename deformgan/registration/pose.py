"""How well a pose aligns two images: mutual information over scattered samples, with its derivative.

The samples are drawn from the image with the smaller field of view, mostly from its tissue: its background cannot be
told from missing data, and every sample of a small field of view should fall inside the larger one. The measure is
MI x share, share = the part of the samples that falls inside, minus a price on scale and shear. MI alone grows as
samples leave (its bias is about BINS^2 / 2N nats); its product with the share does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from deformgan.errors import RegistrationError
from deformgan.kernels.joint_histogram import information_of_poses, information_with_derivative
from deformgan.registration.appearance import Appearance
from deformgan.similarity.information import information_of_pose
from deformgan.spatial.affine import PARAMETERS, Model, with_derivatives
from deformgan.spatial.grid import REVERSE
from deformgan.spatial.transform import Transform

Array = NDArray[np.float64]

COARSE_MM, MIDDLE_MM, FINE_MM = 8.0, 5.0, 3.0  # voxels of the start, of rigid and affine, of the last affine
COARSE_SAMPLES, MIDDLE_SAMPLES = 3_000, 10_000
BINS = 32
BACKGROUND_SHARE = 0.15  # how much less likely a background voxel is drawn than tissue
PRICE = 0.01  # of one unit of TYPICAL scale or shear, squared, in nats
TYPICAL = np.array([0.1, 0.1, 0.1, 0.05, 0.05, 0.05])  # log scales, shears
LEAST_SHARE = 0.2  # of the samples that must fall inside for a pose to count


@dataclass(frozen=True)
class PoseMeasure:
    """Scores maps fixed point -> moving point (4x4, LPS mm) at one resolution; more is better.

    points: (N, 3) z, y, x index in the sampled image; bins: (N,).  other: (Z, Y, X) in bin units.  centre: LPS mm, in
    the sampled image; radius: mm, the spread of its tissue.  inverted: the moving image is the sampled one.
    engine: "analytic" differentiates by the compiled kernel, "autograd" by its torch twin.
    """

    points: NDArray[np.float32]
    bins: NDArray[np.int64]
    other: NDArray[np.float32]
    valid: NDArray[np.uint8]
    to_world: Array
    from_world: Array
    centre: Array
    radius: float
    inverted: bool
    engine: str

    @classmethod
    def between(
        cls,
        fixed: Appearance,
        moving: Appearance,
        samples: int,
        seed: int,
        engine: str = "analytic",
        background: float = BACKGROUND_SHARE,
    ) -> PoseMeasure:
        """Draw the samples; the same seed draws the same.  background: how likely a voxel of it is, beside tissue."""
        inverted = bool(np.prod(moving.geometry.extent_mm) < np.prod(fixed.geometry.extent_mm))
        sampled, other = (moving, fixed) if inverted else (fixed, moving)
        points, values = _draw(sampled, samples, background, np.random.default_rng(seed))
        centre, radius = tissue_spread(sampled)
        read = other.image[0, 0].cpu().numpy()
        valid = np.ones(read.shape, np.uint8)
        if other.valid is not None:
            valid = (other.valid[0, 0] > 0).cpu().numpy().astype(np.uint8)
        return cls(
            points.astype(np.float32),
            np.rint(values * (BINS - 1.001)).astype(np.int64),
            np.ascontiguousarray(read * np.float32(BINS - 1.001)),
            valid,
            sampled.geometry.matrix @ REVERSE,
            REVERSE @ other.geometry.inverse,
            centre,
            radius,
            inverted,
            engine,
        )

    def of_matrices(self, matrices: Array) -> tuple[Array, Array]:
        """(share inside, score) of maps (K, 4, 4) sampled point -> other point."""
        poses = np.ascontiguousarray((self.from_world @ matrices @ self.to_world)[:, :3])
        share, mi = information_of_poses(self.points, self.bins, self.other, self.valid, poses, BINS)
        return share, np.where(share >= LEAST_SHARE, mi * share, 0.0)

    def with_derivative(self, p: Array, model: Model) -> tuple[float, Array]:
        """Score and its derivative by the parameters p of the map sampled point -> other point about `centre`."""
        matrix, by_parameters = with_derivatives(p, self.centre, model)
        pose = (self.from_world @ matrix @ self.to_world)[:3]
        share, mi, slope = self._information(np.ascontiguousarray(pose))
        if share < LEAST_SHARE:
            return 0.0, np.zeros(PARAMETERS[model])
        by_matrix = self.from_world[:3].T @ slope @ self.to_world.T
        gradient = share * (by_parameters.reshape(-1, 16) @ by_matrix.ravel())
        score = float(share * mi)
        if model == "affine":
            excess = p[6:] / TYPICAL
            score -= PRICE * float(excess @ excess)
            gradient[6:] -= 2 * PRICE * excess / TYPICAL
        return score, gradient

    def _information(self, pose: Array) -> tuple[float, float, Array]:
        """(share inside, MI, its derivative by the pose (3, 4))."""
        if self.engine == "analytic":
            found: tuple[float, float, Array] = information_with_derivative(
                self.points, self.bins, self.other, self.valid, pose, BINS
            )
            return found
        leaf = torch.from_numpy(pose).requires_grad_()
        points, other = (torch.from_numpy(a).double() for a in (self.points, self.other))
        share, mi = information_of_pose(
            points, torch.from_numpy(self.bins), other, torch.from_numpy(self.valid), leaf, BINS
        )
        (slope,) = torch.autograd.grad(mi, leaf)
        return float(share), float(mi.detach()), slope.numpy()

    def oriented(self, matrix: Array) -> Array:
        """A map sampled -> other as fixed -> moving, and back."""
        way: Array = np.linalg.inv(matrix).astype(np.float64) if self.inverted else matrix
        return way

    def of_registration(self, transform: Transform) -> float:
        """The score of any transform fixed point -> moving point, without the price."""
        return self.of_transform(transform.inverse() if self.inverted else transform)

    def of_transform(self, sampled_to_other: Transform) -> float:
        """The score of any transform sampled point -> other point, without the price."""
        world = self.points @ self.to_world[:3, :3].T + self.to_world[:3, 3]
        landed = sampled_to_other.apply(world) @ self.from_world[:3, :3].T + self.from_world[:3, 3]
        still = np.eye(4)[None, :3]
        share, mi = information_of_poses(landed.astype(np.float32), self.bins, self.other, self.valid, still, BINS)
        return float(mi[0] * share[0]) if share[0] >= LEAST_SHARE else 0.0


class Poses(NamedTuple):
    """The measure at three resolutions."""

    coarse: PoseMeasure
    middle: PoseMeasure
    fine: PoseMeasure

    @classmethod
    def between(cls, fixed: Appearance, moving: Appearance, samples: int, seed: int, engine: str = "analytic") -> Poses:
        """`samples`: of the fine one."""
        return cls(
            *(
                PoseMeasure.between(fixed.at(mm), moving.at(mm), n, seed, engine)
                for mm, n in ((COARSE_MM, COARSE_SAMPLES), (MIDDLE_MM, MIDDLE_SAMPLES), (FINE_MM, samples))
            )
        )


def _draw(sampled: Appearance, samples: int, background: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Jittered positions (N, 3) z, y, x and the image there (N,)."""
    from scipy.ndimage import map_coordinates

    image = sampled.image[0, 0].cpu().numpy()
    weight = background + (1 - background) * sampled.foreground[0, 0].cpu().numpy().ravel().astype(float)
    if sampled.valid is not None:
        weight *= sampled.valid[0, 0].cpu().numpy().ravel() > 0
    if weight.sum() == 0:
        raise RegistrationError("the mask leaves no voxel of the image; check that it lies over the image")
    cumulative = np.cumsum(weight)
    chosen = np.searchsorted(cumulative, (np.arange(samples) + rng.random(samples)) / samples * cumulative[-1], "right")
    index = np.stack(np.unravel_index(np.minimum(chosen, image.size - 1), image.shape), 1)
    points = index + rng.random(index.shape) - 0.5
    return points, map_coordinates(image, points.T, order=1, mode="nearest").astype(float)


def tissue_spread(image: Appearance) -> tuple[Array, float]:
    """Centre of the tissue (LPS mm) and its root mean square distance from it (mm)."""
    tissue = image.foreground[0, 0].cpu().numpy() > 0
    if image.valid is not None:
        tissue &= image.valid[0, 0].cpu().numpy() > 0
    index = np.stack(np.nonzero(tissue if tissue.any() else np.ones_like(tissue))[::-1], 1)
    points = index @ image.geometry.matrix[:3, :3].T + image.geometry.matrix[:3, 3]
    return points.mean(0), float(max(*image.geometry.spacing, np.sqrt(points.var(0).sum())))
