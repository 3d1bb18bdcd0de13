"""register_affine(): one pair, one affine map, a choice of engine, loss, optimiser and ranges; in 2-D and 3-D."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deformgan.errors import InputError, RegistrationError
from deformgan.io.geometry import Geometry
from deformgan.io.transform_files import Affine
from deformgan.io.volume import Volume, as_volume
from deformgan.registration.affine_engines import (
    SQUARED,
    AnalyticEngine,
    AutogradEngine,
    Motion,
    Scene,
    VoxelLoss,
)
from deformgan.registration.appearance import Appearance
from deformgan.registration.magnified import magnification
from deformgan.registration.optimisers import TorchOptimiser, walk
from deformgan.registration.pose import LEAST_SHARE, tissue_spread
from deformgan.spatial.affine import PLACES, Model, to_parameters
from deformgan.spatial.grid import REVERSE
from deformgan.spatial.pyramid import gaussian_smooth
from deformgan.spatial.ranges import Mapping, Ranges
from deformgan.spatial.transform import Transform

Array = NDArray[np.float64]
EngineName = Literal["analytic", "autograd"]
ENGINES: dict[str, type[AnalyticEngine] | type[AutogradEngine]] = {
    "analytic": AnalyticEngine,
    "autograd": AutogradEngine,
}
TOLERANCE_MM = 0.005
Slopes = Literal["interpolant", "gaussian"] | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AffineOptions:
    """How to search.

    optimiser: "lbfgs", "lm" (Levenberg-Marquardt; l2 and cauchy, analytic engine), "adam", "adamw", "rmsprop", "rprop",
    or a function of a list of parameters that makes a torch optimiser; "auto" takes lm where it can, else lbfgs.
    levels: voxels of each level over those of the finer image, coarse to fine.  iterations: most of a level.
    tolerance_mm: a level ends where a step moves no corner of the fixed image farther; none = TOLERANCE_MM, and less
    where the images are small (docs/registration.md).
    slopes: of the moving image, once a level: "interpolant" (its own, exact), "gaussian" (the derivative of a Gaussian
    of one voxel), or a function (1, 1, *spatial) -> (d, *spatial), per voxel, z y x (2-D: y x).
    scale: of the cauchy loss.  border: points outside the moving image read its border; else they do not count.
    scaled: both images are brought to [0, 1] by their robust range first (CT by its window), which `scale` refers to.
    dtype: torch.float32, or torch.float64 (slower).

    >>> from deformgan import AffineOptions
    >>> AffineOptions(optimiser="adam", levels=(4, 2)).iterations
    100
    """

    optimiser: str | TorchOptimiser = "auto"
    levels: tuple[float, ...] = (4.0, 2.0, 1.0)
    iterations: int = 100
    tolerance_mm: float | None = None
    slopes: Slopes = "interpolant"
    scale: float = 0.1
    border: bool = False
    scaled: bool = True
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Step:
    """One step of a walk, after it: the corners of the fixed image moved by moved_mm; seconds since the beginning."""

    level_mm: float
    loss: float
    parameters: Array
    moved_mm: float
    seconds: float


@dataclass(frozen=True)
class AffineFit:
    """What register_affine found.

    matrix: 4x4, LPS mm, fixed point -> moving point.  parameters: of the model about `centre` (LPS mm).  loss: at the
    finest level.  history: every step, coarse to fine.
    """

    matrix: Array
    parameters: Array
    centre: Array
    model: Model
    loss: float
    history: tuple[Step, ...] = field(repr=False)

    @property
    def transform(self) -> Transform:
        """The map, ready for `warp` and for ITK's files."""
        return Transform((Affine(self.matrix),))


def register_affine(
    fixed: Any,
    moving: Any,
    *,
    model: Model = "affine",
    engine: EngineName = "analytic",
    loss: str | VoxelLoss = "ncc",
    ranges: Ranges | None = None,
    start: Array | None = None,
    centre: Array | None = None,
    fixed_mask: Any = None,
    moving_mask: Any = None,
    options: AffineOptions | None = None,
) -> AffineFit:
    """Fit `model` from `start` (4x4, LPS mm; none = the headers' position) so that `loss` is least.

    fixed, moving, masks: as `as_volume` takes them, or 2-D arrays of unit spacing (y, x) with one of the 2-D models.
    loss: "l2", "cauchy", "ncc" (one fused pass in the analytic engine), "mi", "nmi", "gc", "lcc", "lg", "mind", "l1",
    or a function of (warped, fixed) tensors -> (loss, its derivative by warped) of each voxel.
    centre: LPS mm, about which the parameters turn and scale; none = of the fixed image's tissue.
    Raises InputError for what cannot be used, RegistrationError where the images do not meet or the loss is not finite.

    >>> import numpy as np, deformgan
    >>> y, x = np.mgrid[:64, :64]
    >>> fixed = np.exp(-((x - 30) ** 2 + 2 * (y - 34) ** 2) / 200.0).astype(np.float32)
    >>> moving = np.roll(fixed, (3, -5), axis=(0, 1))      # down by 3, left by 5 pixels
    >>> fit = deformgan.register_affine(fixed, moving, model="rigid2d", loss="l2")
    >>> bool(np.allclose(fit.matrix[:2, 3], [-5, 3], atol=0.05))      # x, y: fixed point -> moving point
    True
    """
    options, began = options or AffineOptions(), time.perf_counter()
    if engine not in ENGINES:
        raise InputError(f"engine must be {' or '.join(ENGINES)}; got {engine!r}")
    f, m = (_appearance(v, k, options) for v, k in ((fixed, fixed_mask), (moving, moving_mask)))
    if model not in PLACES:
        raise InputError(f"model must be one of {', '.join(PLACES)}; got {model!r}")
    if model.endswith("2d") != (f.geometry.shape[0] == 1):
        raise InputError(f"a {model} map does not suit images of shape {f.geometry.shape}")
    middle, radius = tissue_spread(f)
    middle = middle if centre is None else np.asarray(centre, np.float64)
    larger = magnification(f.geometry, m.geometry)
    tolerance_mm = TOLERANCE_MM / larger if options.tolerance_mm is None else options.tolerance_mm
    motion = Motion(model, middle, Mapping.of(model, radius, ranges or Ranges(), larger))
    q = motion.mapping.free(to_parameters(np.eye(4) if start is None else np.asarray(start), middle, model))
    optimiser = options.optimiser
    if optimiser == "auto":
        optimiser = "lm" if engine == "analytic" and loss in SQUARED else "lbfgs"
    history = History(motion, _corners(f.geometry), began)
    finest = min(s for a in (f, m) for s, n in zip(a.geometry.spacing, a.geometry.size, strict=True) if n > 1)
    for factor in options.levels:
        scene = _scene(f, m, factor * finest, options)
        at = ENGINES[engine](scene, motion, loss, options.scale)
        history.begin(factor * finest, q)
        q = walk(optimiser, at, q, options.iterations, tolerance_mm, history)
    _check_overlap(scene, motion, q)
    return AffineFit(motion.matrix(q), motion.mapping.parameters(q), middle, model, at(q)[0], tuple(history.steps))


class History:
    """The steps of a walk; called with every (q, loss), it tells how far the corners moved."""

    def __init__(self, motion: Motion, corners: Array, began: float) -> None:
        """corners: (8, 4) LPS mm, 1; began: of time.perf_counter."""
        self.motion, self.corners, self.began = motion, corners, began
        self.steps: list[Step] = []

    def begin(self, level_mm: float, q: Array) -> None:
        """A level begins at q."""
        self.level_mm, self.last = level_mm, self.motion.matrix(q)

    def __call__(self, q: Array, loss: float) -> float:
        """Mm that the farthest corner moved since the last call."""
        matrix = self.motion.matrix(q)
        moved = float(np.linalg.norm((self.corners @ (matrix - self.last).T)[:, :3], axis=1).max())
        self.last = matrix
        parameters, seconds = self.motion.mapping.parameters(q), time.perf_counter() - self.began
        self.steps.append(Step(self.level_mm, loss, parameters, moved, seconds))
        return moved


def _appearance(source: Any, mask: Any, options: AffineOptions) -> Appearance:
    volume, region = _volume(source), None if mask is None else _volume(mask)
    if region is not None and not region.geometry.almost_equal(volume.geometry):
        raise InputError("a mask must lie on its image's grid")
    looks = Appearance.of(volume, region, torch.device("cpu"))
    image = looks.image if options.scaled else volume.tensor[None, None]
    return Appearance(image.to(options.dtype), looks.geometry, looks.foreground, looks.valid, looks.ct)


def _volume(source: Any) -> Volume:
    """As as_volume; a 2-D array or tensor becomes one slice of unit spacing."""
    if isinstance(source, np.ndarray | Tensor) and source.ndim == 2:
        tensor = torch.as_tensor(source)[None]
        return Volume(tensor, Geometry.from_matrix(np.eye(4), tuple(tensor.shape[::-1])))
    return as_volume(source)


def _scene(fixed: Appearance, moving: Appearance, mm: float, options: AffineOptions) -> Scene:
    f, m = fixed.at(mm), moving.at(mm)
    image = m.image[0, 0]
    slopes = None
    if options.slopes == "gaussian":
        slopes = _gaussian_slopes(m.image)
    elif options.slopes != "interpolant":
        given = options.slopes(m.image if image.shape[0] > 1 else m.image[:, :, 0])
        slopes = given if image.shape[0] > 1 else torch.cat([torch.zeros_like(given[:1]), given])[:, None]
    weight, seen = (None if a.valid is None else a.valid[0, 0].to(image) for a in (f, m))
    if slopes is not None:
        slopes = slopes.to(image).reshape(3, *image.shape).contiguous()
    maps = f.geometry.matrix @ REVERSE, REVERSE @ m.geometry.inverse
    return Scene(f.image[0, 0].contiguous(), image.contiguous(), *maps, weight, seen, slopes, options.border)


def _gaussian_slopes(image: Tensor) -> Tensor:
    """(1, 1, Z, Y, X) -> (3, Z, Y, X): the derivative of a Gaussian of one voxel, per voxel."""
    smooth = gaussian_smooth(image, 1.0)[0, 0]
    sides = [
        torch.gradient(smooth, dim=a)[0] if n > 1 else torch.zeros_like(smooth) for a, n in enumerate(smooth.shape)
    ]
    return torch.stack(sides)


def _corners(geometry: Geometry) -> Array:
    """(8, 4) LPS mm, 1."""
    ends = np.stack(np.meshgrid(*[(0, n - 1) for n in geometry.size], indexing="ij"), -1).reshape(8, 3)
    return np.c_[ends, np.ones(8)] @ geometry.matrix.T


def _check_overlap(scene: Scene, motion: Motion, q: Array) -> None:
    share = AnalyticEngine(scene, motion, "l2", 1.0).sums(q).share
    if share < LEAST_SHARE / 2:
        raise RegistrationError(
            f"{100 * share:.0f} % of the fixed image lies inside the moving one after alignment; "
            "give a start, or ranges that keep them together"
        )
