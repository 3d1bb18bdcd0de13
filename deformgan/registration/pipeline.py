"""register(): check -> start -> rigid -> affine -> deformable -> result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from deformgan.errors import InputError, RegistrationError
from deformgan.io.formats import read_volume
from deformgan.io.transform_files import Affine, DisplacementField
from deformgan.io.volume import Volume, as_volume
from deformgan.kernels.threads import set_threads
from deformgan.registration.affine import climb
from deformgan.registration.appearance import Appearance
from deformgan.registration.deformable import Field, Level, Settings, solve_level
from deformgan.registration.options import PRESETS, RegisterOptions
from deformgan.registration.pose import LEAST_SHARE, PoseMeasure
from deformgan.registration.result import Registration, trusted
from deformgan.registration.start import find_start
from deformgan.similarity.objective import parse_similarity
from deformgan.spatial.grid import displacement_to_mm
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Transform
from deformgan.spatial.warp import warp_through

COARSE_MM, MIDDLE_MM, FINE_MM = 8.0, 5.0, 3.0  # voxels of the start, of rigid and affine, of the last affine
COARSE_SAMPLES, MIDDLE_SAMPLES = 3_000, 10_000
SAME_CONTRAST = 0.11  # standard deviations between the sorted intensities of both below which the modality is one


@dataclass(frozen=True)
class Recipe:
    """What serves a kind of pair: the similarity of the deformable stage, and how stiff the field is."""

    similarity: str
    settings: Settings


RECIPES = {
    "one modality": Recipe("mi=0.3,lcc=0.7", Settings(elastic_sigma=0.8, force_sigma=3.0)),
    "two modalities": Recipe("mi=0.3,lcc=0.7", Settings(elastic_sigma=1.6, force_sigma=4.0)),
    "CT and MR": Recipe("lcc=1", Settings(elastic_sigma=8.0, force_sigma=6.0)),  # weak edges, small fields of view
}


@dataclass(frozen=True)
class Progress:
    """Where a registration stands: `done` of `total` iterations of this stage and level, and the similarity loss."""

    stage: str
    level: str
    done: int
    total: int
    loss: float


@dataclass
class Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to `name`."""
        begin = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


def register(
    fixed: Any,
    moving: Any,
    *,
    fixed_mask: Any = None,
    moving_mask: Any = None,
    options: RegisterOptions | None = None,
    progress: Callable[[Progress], None] = lambda step: None,
) -> Registration:
    """Align `moving` to `fixed`: any modalities, any grids; both and the masks as `as_volume` takes them.

    The result's transform maps fixed points to moving points, LPS mm.  Raises InputError for input that cannot be used
    and RegistrationError where the images do not meet.
    """
    options, clock = options or RegisterOptions(), Clock()
    weights = None if options.similarity is None else parse_similarity(options.similarity)
    device = _device(options.device)
    threads = options.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    set_threads(threads)
    with clock.stage("read"):
        pair = as_volume(fixed), as_volume(moving)
        masks = _mask(fixed_mask, pair[0], "fixed"), _mask(moving_mask, pair[1], "moving")
    with clock.stage("prepare"):
        f, m = (Appearance.of(v, k, torch.device("cpu")) for v, k in zip(pair, masks, strict=True))
        measures = [
            PoseMeasure.between(f.at(mm), m.at(mm), n, options.seed)
            for mm, n in (
                (COARSE_MM, COARSE_SAMPLES),
                (MIDDLE_MM, MIDDLE_SAMPLES),
                (FINE_MM, PRESETS[options.preset].samples),
            )
        ]
    found: dict[str, Transform] = {"start": Transform.identity()}
    kind = "not looked at"
    with clock.stage("start"), threadpool_limits(1, user_api="blas"):  # BLAS threads spin on the kernels' cores
        progress(Progress("start", f"{COARSE_MM:g} mm", 0, 1, float("nan")))
        matrix, _ = find_start(measures[0], measures[1], _centre_shifts(measures[0], f, m))
    with clock.stage("affine"), threadpool_limits(1, user_api="blas"):
        matrix = _affine(measures, matrix, options, progress)
        found["affine" if options.stage != "rigid" else "rigid"] = Transform((Affine(matrix),))
    warnings = [note for v in pair for note in v.notes] + _overlap_notes(measures[2], matrix)
    if options.stage == "deformable":
        with clock.stage("deformable"):
            if device.type != "cpu":
                f, m = (Appearance.of(v, k, device) for v, k in zip(pair, masks, strict=True))
            kind = kind_of_pair(f, m, matrix)
            similarity = weights or parse_similarity(RECIPES[kind].similarity)
            u = _deform(f, m, matrix, options, similarity, RECIPES[kind].settings, progress)
            found["deformable"] = _as_transform(u, matrix)
    with clock.stage("judge"):
        kept, inverse, scores, doubts = trusted(measures[2], found)
        transform = found[kept]
    with clock.stage("resample"):
        warped = resample(pair[1], transform, pair[0].geometry, outside=float(pair[1].tensor.min()))
    notes = tuple(warnings + doubts)
    sources = tuple(str(s) if isinstance(s, str | os.PathLike) else "" for s in (fixed, moving))
    return Registration(
        *pair, warped, transform, inverse, kept, kind, scores, options, clock.seconds, notes, (sources[0], sources[1])
    )


def register_files(
    fixed: str,
    moving: str,
    fixed_mask: str | None = None,
    moving_mask: str | None = None,
    *,
    volume: int | None = None,
    options: RegisterOptions | None = None,
    progress: Callable[[Progress], None] = lambda step: None,
) -> Registration:
    """`register` for files: masks may be None, `volume` picks one of a 4-D file; the result knows its sources."""
    begin = time.perf_counter()
    pair = [read_volume(path, volume=volume) for path in (fixed, moving)]
    reading = time.perf_counter() - begin
    found = register(*pair, fixed_mask=fixed_mask, moving_mask=moving_mask, options=options, progress=progress)
    return replace(
        found, sources=(fixed, moving), seconds={"read": reading + found.seconds.pop("read"), **found.seconds}
    )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name!r} is not a torch device; try cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no CUDA GPU here; use --device cpu or install torch with CUDA")
    return device


def _mask(source: Any, image: Volume, name: str) -> Volume | None:
    """The mask on its image's grid; resampled by nearest neighbour where it lies on another."""
    if source is None:
        return None
    mask = read_volume(source, kind="mask") if isinstance(source, str | os.PathLike) else as_volume(source)
    binary = Volume((mask.tensor > 0).to(torch.uint8), mask.geometry)
    if not binary.geometry.almost_equal(image.geometry):
        binary = resample(binary, Transform.identity(), image.geometry, interpolation="nearest")
    if not bool(binary.tensor.any()):
        raise InputError(f"the {name} mask is empty on the {name} image's grid; check that it belongs to that image")
    return binary


def _centre_shifts(measure: PoseMeasure, f: Appearance, m: Appearance) -> NDArray[np.float64]:
    """Shifts sampled -> other, mm: centre of the grids, and centre of the tissue."""
    grids = m.geometry.centre - f.geometry.centre
    tissue = _tissue_centre(m) - _tissue_centre(f)
    return np.stack([grids, tissue]) * (-1 if measure.inverted else 1)


def _tissue_centre(a: Appearance) -> NDArray[np.float64]:
    small = a.at(COARSE_MM)
    z, y, x = (float(i.mean()) for i in np.nonzero(small.foreground[0, 0].numpy()))
    return (small.geometry.matrix @ np.array([x, y, z, 1.0]))[:3]


def _affine(
    measures: list[PoseMeasure],
    start: NDArray[np.float64],
    options: RegisterOptions,
    progress: Callable[[Progress], None],
) -> NDArray[np.float64]:
    """Rigid, then affine, at two resolutions; a rise in freedom is kept only where the finer measure agrees."""
    matrix, score = climb(measures[2], start, "rigid", 40)
    progress(Progress("rigid", f"{FINE_MM:g} mm", 1, 1, -score))
    if options.stage == "rigid":
        return matrix
    freer, _ = climb(measures[1], start, "affine", 60)
    freer, freer_score = climb(measures[2], freer, "affine", 60)
    progress(Progress("affine", f"{FINE_MM:g} mm", 1, 1, -freer_score))
    return freer if freer_score > score else matrix


def _overlap_notes(measure: PoseMeasure, matrix: NDArray[np.float64]) -> list[str]:
    share = float(measure.of_matrices(measure.oriented(matrix)[None])[0][0])
    if share < LEAST_SHARE:
        raise RegistrationError(
            f"the images hardly meet: {100 * share:.0f} % of the smaller one lies inside the other after alignment; "
            "check that both show the same region, or bring them nearer in their headers"
        )
    return [f"only {100 * share:.0f} % of the smaller image lies inside the other"] if share < 0.5 else []


def _deform(
    f: Appearance,
    m: Appearance,
    matrix: NDArray[np.float64],
    options: RegisterOptions,
    similarity: dict[str, float],
    settings: Settings,
    progress: Callable[[Progress], None],
) -> Field:
    """Coarse to fine over the preset's levels, down to the fixed image's own voxels."""
    finest = min(min(f.geometry.spacing), min(m.geometry.spacing))
    levels = [(mm, n) for mm, n in PRESETS[options.preset].levels if mm > 0.75 * finest]
    levels = levels or [(finest, PRESETS[options.preset].levels[-1][1])]
    u: Field | None = None
    for mm, iterations in levels:
        level = Level.of(f, m, matrix, mm)
        name = f"{mm:g} mm"

        def report(done: int, loss: float, name: str = name, iterations: int = iterations) -> None:
            progress(Progress("deformable", name, done, iterations, loss))

        u = solve_level(level, u, similarity, iterations, settings, report)
    assert u is not None
    return u


def kind_of_pair(fixed: Appearance, moving: Appearance, matrix: NDArray[np.float64]) -> str:
    """A key of RECIPES: CT beside MR; else one modality where both show the same histogram of the same tissue."""
    if fixed.ct != moving.ct:
        return "CT and MR"
    level = Level.of(fixed, moving, matrix, FINE_MM)
    still = torch.zeros(1, 3, *level.lattice.shape, device=fixed.image.device)
    warped, inside = warp_through(level.moving.image, level.matrix, still, level.factors, level.fixed.geometry.shape)
    seen = inside & (level.fixed.foreground > 0)
    a, b = (torch.sort(image[seen])[0] for image in (warped, level.fixed.image))
    distance = ((a - a.mean()) / a.std() - (b - b.mean()) / b.std()).abs().mean()
    return "one modality" if float(distance) < SAME_CONTRAST else "two modalities"


def _as_transform(u: Field, matrix: NDArray[np.float64]) -> Transform:
    """The field, its lattice grown so far that no point of the image leaves it, then the affine."""
    longest = int(np.ceil(float(u.displacement.abs().max()))) + 1
    grown = torch.nn.functional.pad(u.displacement, [longest] * 6, mode="replicate")
    lattice = u.lattice.padded(longest)
    return Transform((DisplacementField(lattice, displacement_to_mm(grown, lattice)), Affine(matrix)))
