"""The deformable stage: greedy composition of small smooth steps, coarse to fine.

At each level the displacement u lives on a lattice of every second voxel.  One step:

    g  = d similarity loss / du, in mm, smoothed                   (a force that a fluid would feel)
    s  = - step * g / sqrt(local mean of |g|^2 + share of its global mean)
    u  = s + u o (x + s), smoothed                                   (composition, then an elastic pull)

A step is at most MOST_VOXELS of a lattice cell and smooth, so x + s(x) is invertible and so is what they compose to.
Source: greedy diffeomorphic matching after Christensen 1996, Vercauteren 2009 and Yushkevich 2016; the normalisation of
the force and its numbers are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deformgan.errors import RegistrationError
from deformgan.io.geometry import Geometry
from deformgan.io.transform_files import Affine, DisplacementField
from deformgan.registration.appearance import Appearance
from deformgan.registration.progress import Progress, Show, silent
from deformgan.similarity.objective import Objective, Options
from deformgan.spatial.field import compose
from deformgan.spatial.grid import displacement_to_mm, index_matrix, reversed_axes
from deformgan.spatial.moving_view import MovingView
from deformgan.spatial.pyramid import gaussian_smooth
from deformgan.spatial.transform import Transform
from deformgan.spatial.warp import warp_through

MOST_VOXELS = 0.4  # longest step, in lattice cells
GLOBAL_SHARE = 1.2  # of the global mean square force in the step's denominator: flat regions move less
LOCAL_SHARE = 0.7
LOCAL_REACH = 3.0  # sigma of the local mean over that of the force
MARGIN = 3.0  # voxels around the tissue of both that are looked at; the air beyond says nothing
NEAR = 0.0228  # what a Gaussian of half the margin leaves of a straight edge at the margin


@dataclass(frozen=True)
class Settings:
    """How a level is solved; lengths are in voxels of the level."""

    step: float = 0.4
    force_sigma: float = 4.0
    elastic_sigma: float = 1.6
    window: int = 5  # of LCC and LG
    floor: float = 1e-3  # share of the image's variance below which a window is flat


@dataclass(frozen=True)
class Field:
    """A displacement (1, 3, Z, Y, X), z y x, in voxels of `lattice`, constant beyond its outermost nodes."""

    displacement: Tensor
    lattice: Geometry

    def then(self, affine: NDArray[np.float64]) -> Transform:
        """The transform x -> affine(x + u(x)), its lattice grown so far that no point of the image leaves it."""
        longest = int(np.ceil(float(self.displacement.abs().max()))) + 1
        grown = torch.nn.functional.pad(self.displacement, [longest] * 6, mode="replicate")
        lattice = self.lattice.padded(longest)
        return Transform((DisplacementField(lattice, displacement_to_mm(grown, lattice)), Affine(affine)))


@dataclass(frozen=True)
class Level:
    """One resolution of one pair, ready to be solved on a lattice of every `factors`-th voxel (z, y, x)."""

    fixed: Appearance
    moving: Appearance
    matrix: NDArray[np.float64]  # fixed level index -> moving level index, z y x, by the affine map
    factors: tuple[int, ...]
    lattice: Geometry

    @classmethod
    def of(cls, fixed: Appearance, moving: Appearance, affine: NDArray[np.float64], spacing_mm: float) -> Level:
        """The level with voxels of about `spacing_mm`; `affine` maps fixed points to moving points, LPS mm."""
        fixed, moving = fixed.at(spacing_mm), moving.at(spacing_mm)
        grid = fixed.geometry
        fine = 1.6 * min(grid.spacing)
        factors = tuple(2 if n > 3 and s < fine else 1 for n, s in zip(grid.shape, grid.spacing[::-1], strict=True))
        step = np.diag([*factors[::-1], 1.0])
        step[:3, 3] = (np.array(factors[::-1]) - 1) / 2
        nodes = tuple(-(-n // f) for n, f in zip(grid.size, factors[::-1], strict=True))
        lattice = Geometry.from_matrix(grid.matrix @ step, nodes)
        return cls(fixed, moving, reversed_axes(index_matrix(grid, moving.geometry, affine)), factors, lattice)

    def brought(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(image (1, 1, *moving) on the fixed grid by the affine map alone, where it has a value)."""
        still = torch.zeros(1, 3, *self.lattice.shape, device=image.device)
        return warp_through(image, self.matrix, still, self.factors, self.fixed.geometry.shape)

    def weight(self) -> Tensor:
        """(1, 1, *fixed): 1 on and around the tissue of either image where the fixed one may be used, else 0."""
        tissue = torch.maximum(self.brought(self.moving.foreground)[0], self.fixed.foreground)
        near = (gaussian_smooth(tissue, MARGIN / 2) > NEAR).float()
        return near if self.fixed.valid is None else near * self.fixed.valid


class Pull:
    """How two images at one resolution pull at the field: their loss, and its derivative by the displacement."""

    def __init__(self, level: Level, weights: Mapping[str, float], options: Options) -> None:
        moving = level.moving.image
        options = replace(options, warped_range=(float(moving.min()), float(moving.max())))
        self.loss_of = Objective(weights, level.fixed.image, options=options)
        seen = moving, level.matrix, level.factors, level.weight(), level.moving.valid
        self.view = MovingView(*seen, everywhere=self.loss_of.looks_beyond)

    def __call__(self, u: Tensor) -> tuple[float, Tensor]:
        """u: (1, 3, Z, Y, X) on the level's lattice, z y x, in voxels of the fixed level."""
        loss, _, by_warped = self.loss_of.with_derivative(*self.view(u), self.view.spans)
        return loss, self.view.pull_back(by_warped)


@dataclass(frozen=True)
class Beside:
    """Two images of one modality on the grids of a pair, compared beside it: `weight` times signed LCC of `window`."""

    fixed: Appearance
    moving: Appearance
    weight: float
    window: int

    def pull(self, affine: NDArray[np.float64], spacing_mm: float) -> Pull:
        """At the level of about `spacing_mm`."""
        level = Level.of(self.fixed, self.moving, affine, spacing_mm)
        return Pull(level, {"lcc": self.weight}, Options(window=self.window, squared=False, floor=Settings.floor))


def deform(
    fixed: Appearance,
    moving: Appearance,
    affine: NDArray[np.float64],
    weights: Mapping[str, float],
    settings: Settings,
    levels: Sequence[tuple[float, int]],
    show: Show = silent,
    start: Field | None = None,
    beside: Beside | None = None,
) -> Field:
    """Coarse to fine over `levels` (voxel in mm, iterations), down to the finer image's own voxels, from `start`.

    beside: what else pulls; `weights` may then be empty.
    """
    finest = min(*fixed.geometry.spacing, *moving.geometry.spacing)
    u = start
    for mm, iterations in [level for level in levels if level[0] > 0.75 * finest] or [(finest, levels[-1][1])]:

        def report(done: int, loss: float, mm: float = mm, iterations: int = iterations) -> None:
            show(Progress("deformable", mm, done, iterations, loss))

        also = [] if beside is None else [beside.pull(affine, mm)]
        u = solve_level(Level.of(fixed, moving, affine, mm), u, weights, iterations, settings, report, also)
        for image in (fixed, moving) if beside is None else (fixed, moving, beside.fixed, beside.moving):
            image.shrunk.clear()  # no later level asks for these
    assert u is not None  # there is always a level
    return u


def solve_level(
    level: Level,
    start: Field | None,
    weights: Mapping[str, float],
    iterations: int,
    settings: Settings,
    report: Callable[[int, float], None] = lambda done, loss: None,
    also: Sequence[Pull] = (),
) -> Field:
    """Deform from `start` for `iterations` steps; `also` pulls too, and alone where there are no weights.

    Raises RegistrationError when the similarity is not finite.
    """
    image = level.fixed.image
    cell = image.new_tensor(level.factors).view(1, 3, 1, 1, 1)
    spacing = image.new_tensor(level.fixed.geometry.spacing[::-1]).view(1, 3, 1, 1, 1)
    voxel = min(level.fixed.geometry.spacing)
    u = torch.zeros(1, 3, *level.lattice.shape, device=image.device) if start is None else carry(start, level.lattice)
    force_sigma, elastic_sigma = (
        [s * voxel / n for n in level.lattice.spacing[::-1]] for s in (settings.force_sigma, settings.elastic_sigma)
    )
    options = Options(window=settings.window, floor=settings.floor)
    pulls = [*([Pull(level, weights, options)] if weights else []), *also]
    for done in range(iterations):
        losses, forces = zip(*(pull(u * cell) for pull in pulls), strict=True)
        loss = sum(losses)
        if not np.isfinite(loss):
            raise RegistrationError(
                f"the similarity {dict(weights)} is not finite at iteration {done}; check the images"
            )
        force = sum(forces[1:], forces[0]) / spacing
        s = _step(gaussian_smooth(force, force_sigma), force_sigma, settings.step * voxel) / (spacing * cell)
        longest = s.square().sum(1, keepdim=True).sqrt_().clamp_min_(MOST_VOXELS)
        u = gaussian_smooth(compose(u, s * (MOST_VOXELS / longest)), elastic_sigma)
        report(done + 1, loss)
    return Field(u, level.lattice)


def carry(field: Field, lattice: Geometry) -> Tensor:
    """The displacement at the nodes of another lattice, in that lattice's voxels and along its axes."""
    matrix = reversed_axes(index_matrix(lattice, field.lattice))
    still = torch.zeros(1, 3, *lattice.shape, device=field.displacement.device)
    planes = [
        warp_through(field.displacement[:, k : k + 1], matrix, still, 1, lattice.shape, outside="border")[0]
        for k in range(3)
    ]
    turn = still.new_tensor(np.linalg.inv(matrix[:3, :3]))
    return torch.einsum("ij,bjzyx->bizyx", turn, torch.cat(planes, 1))


def _step(force: Tensor, sigma: list[float], length_mm: float) -> Tensor:
    """Downhill step in mm: of about `length_mm` where the force is usual, less where it is weak."""
    energy = force.square().sum(1, keepdim=True)
    local = gaussian_smooth(energy, [LOCAL_REACH * s for s in sigma])
    usual = (LOCAL_SHARE * local + GLOBAL_SHARE * energy.mean()).add_(torch.finfo(force.dtype).tiny).sqrt_()
    return force * (-length_mm / usual)
