"""register(): check -> start -> rigid -> affine -> deformable -> result."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from deformgan.errors import InputError, RegistrationError
from deformgan.io.formats import read_volume
from deformgan.io.transform_files import Affine
from deformgan.io.volume import Volume, as_volume
from deformgan.kernels.threads import set_threads
from deformgan.registration.affine import rigid_then_affine
from deformgan.registration.appearance import Appearance
from deformgan.registration.bridge import Bridge, Make, bridge_of, check_options, parted, role_of_mr
from deformgan.registration.deformable import Field, deform
from deformgan.registration.field_of_view import without_missing
from deformgan.registration.magnified import brought_back, magnification, magnified
from deformgan.registration.models import AUTO, Model, left_to_refine, load_model, models_named, predict
from deformgan.registration.options import PRESETS, RegisterOptions
from deformgan.registration.plausible import implausible
from deformgan.registration.pose import COARSE_MM, FINE_MM, LEAST_SHARE, PoseMeasure, Poses
from deformgan.registration.progress import Clock, Curve, Progress, Show, silent
from deformgan.registration.recipe import Recipe
from deformgan.registration.result import Registration, trusted
from deformgan.registration.start import find_starts, starts_near_header
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Transform


def register(
    fixed: Any,
    moving: Any,
    *,
    fixed_mask: Any = None,
    moving_mask: Any = None,
    bridge: Any = None,
    options: RegisterOptions | None = None,
    progress: Show = silent,
) -> Registration:
    """Align `moving` to `fixed`: any modalities, any grids; both and the masks as `as_volume` takes them.

    bridge: of a CT and an MR, a CT made of the MR, in HU and on its grid, likewise; it is compared with the CT in the
    MR's place (docs/synthesis.md).  The result's transform maps fixed points to moving points, LPS mm.  Raises
    InputError for input that cannot be used and RegistrationError where the images do not meet.

    >>> import deformgan
    >>> ct, mr = "data/sts/STS_051_CT.nii.gz", "data/sts/STS_051_MR_T1.nii.gz"
    >>> result = deformgan.register(ct, mr, options=deformgan.RegisterOptions(preset="fast"))
    >>> result.warped.geometry == deformgan.read_volume(ct).geometry
    True
    >>> result.metrics["regularity"]["folding_percent"]
    0.0
    >>> point_in_mr = result.transform.apply([[0.0, 0.0, -500.0]])       # LPS mm
    """
    options, clock = options or RegisterOptions(), Clock()
    preset = PRESETS[options.preset]
    check_options(options, bridged=bridge is not None)
    device = device_of(options.device)
    use_threads(options.threads)
    models = [load_model(name) for name in models_named(options.model)]
    with clock.stage("read"):
        pair = as_volume(fixed), as_volume(moving)
        masks = mask_on(fixed_mask, pair[0], "fixed"), mask_on(moving_mask, pair[1], "moving")
        between = None if bridge is None else bridge_of(as_volume(bridge), *pair, _source(bridge))
    larger = magnification(pair[0].geometry, pair[1].geometry, by_model=bool(models))
    seen = [(magnified(v, larger), k and magnified(k, larger)) for v, k in zip(pair, masks, strict=True)]
    curve, ranges = Curve(progress, larger), options.ranges(larger)
    with clock.stage("prepare"):
        f, m = (Appearance.of(v, k, torch.device("cpu")) for v, k in seen)
        poses = Poses.between(f, m, preset.samples, options.seed, options.engine)
        small = f.at(FINE_MM), m.at(FINE_MM)
    stages = {"start": Transform.identity()}
    with clock.stage("start"), threadpool_limits(1, user_api="blas"):  # BLAS threads spin on the kernels' cores
        curve(Progress("start", COARSE_MM, 0, 1, float("nan")))
        if options.search:
            starts = find_starts(poses, f, m, ranges)
        else:
            starts = starts_near_header(poses, f, m, options.seed, ranges)
    with clock.stage("affine"), threadpool_limits(1, user_api="blas"):
        matrix = rigid_then_affine(
            poses,
            starts,
            options.stage,
            ranges,
            curve,
            believable=lambda m: not implausible(*small, Transform((Affine(m),))),
        )
        stages["rigid" if options.stage == "rigid" else "affine"] = Transform((Affine(matrix),))
    warnings = [note for v in (*pair, *masks) if v for note in v.notes] + _overlap_notes(poses.fine, matrix)
    recipe = None
    if options.stage == "deformable":
        with clock.stage("deformable"):
            if device.type != "cpu":
                f, m = (Appearance.of(v, k, device) for v, k in seen)
            f, m = without_missing(f, m, matrix)
            recipe = Recipe.for_pair(f, m, matrix, options.similarity, bridged=between is not None)
            found, doubts = _deformable(f, m, matrix, recipe, between, models, poses.fine, options, curve)
            stages |= found
            warnings += doubts
    with clock.stage("judge"):
        verdict = trusted(poses.fine, stages)
        faults = implausible(*small, stages[verdict.kept])
        transform = brought_back(stages[verdict.kept], larger)
        verdict = verdict._replace(inverse=brought_back(verdict.inverse, larger))
    with clock.stage("resample"):
        warped = resample(pair[1], transform, pair[0].geometry, outside=float(pair[1].tensor.min()))
    sources = _source(fixed), _source(moving)
    return Registration(
        *pair,
        warped,
        transform,
        verdict,
        recipe,
        options,
        clock.seconds,
        tuple(warnings),
        (sources[0], sources[1]),
        between,
        tuple(faults),
        curve.losses,
        larger,
    )


def _deformable(
    fixed: Appearance,
    moving: Appearance,
    matrix: NDArray[np.float64],
    recipe: Recipe,
    bridge: Bridge | None,
    models: Sequence[Model],
    measure: PoseMeasure,
    options: RegisterOptions,
    progress: Show,
) -> tuple[dict[str, Transform], list[str]]:
    """(transforms by stage, doubts): the model's prediction, where one serves, and what goes on from it."""
    found: dict[str, Transform] = {}
    doubts: list[str] = []
    levels: Sequence[tuple[float, int]] = PRESETS[options.preset].levels
    predictions = [predict(model, fixed, moving, matrix) for model in models]
    transforms = [field.then(matrix) for field in predictions]
    best = 0 if models else -1
    if options.model == AUTO:
        scores = [measure.of_registration(t) for t in (Transform((Affine(matrix),)), *transforms)]
        best = int(np.argmax(scores)) - 1
        if best < 0:
            doubts.append("none of the models that ship betters the affine map of this pair; went on without")
    start: Field | None = None
    if best >= 0:
        start, levels = predictions[best], left_to_refine(levels, models[best])
        found["model"] = transforms[best]
    if options.refine or start is None:
        weights, share = parted(recipe.similarity)
        beside = None if bridge is None else bridge.beside(fixed, moving, share)
        field = deform(fixed, moving, matrix, weights, recipe.settings, levels, progress, start, beside)
        found["deformable"] = field.then(matrix)
    return found, doubts


def register_files(
    fixed: str,
    moving: str,
    fixed_mask: str | None = None,
    moving_mask: str | None = None,
    *,
    volume: int | None = None,
    bridge: Make | None = None,
    bridge_source: str = "",
    options: RegisterOptions | None = None,
    progress: Show = silent,
) -> Registration:
    """`register` for files: masks may be None, `volume` picks one of a 4-D file; the result knows its sources.

    bridge: makes the CT of the MR, whichever of the two that is; bridge_source: the file of what makes it.
    """
    begin = time.perf_counter()
    with ThreadPoolExecutor(2) as both:  # most of it is unpacking, which lets other threads run
        pair = list(both.map(lambda path: read_volume(path, volume=volume), (fixed, moving)))
    seconds = {"read": time.perf_counter() - begin}
    made = None
    if bridge is not None:
        use_threads((options or RegisterOptions()).threads)
        role = role_of_mr(pair[0], pair[1], (fixed, moving))
        made = bridge(pair[0 if role == "fixed" else 1])
        seconds["bridge"] = time.perf_counter() - begin - seconds["read"]
    found = register(
        *pair, fixed_mask=fixed_mask, moving_mask=moving_mask, bridge=made, options=options, progress=progress
    )
    seconds["read"] += found.seconds.pop("read")
    between = None if found.bridge is None else replace(found.bridge, source=bridge_source)
    return replace(found, sources=(fixed, moving), seconds={**seconds, **found.seconds}, bridge=between)


def _source(image: Any) -> str:
    """The file that an image is of, "" where it came from memory."""
    return str(image) if isinstance(image, str | os.PathLike) else ""


def device_of(name: str) -> torch.device:
    """The torch device of --device.  Raises InputError where there is none such."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name!r} is not a torch device; try cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no CUDA GPU here; use --device cpu or install torch with CUDA")
    return device


def use_threads(count: int) -> None:
    """Threads of torch and of the compiled kernels; 0 = all cores."""
    count = count or os.cpu_count() or 1
    torch.set_num_threads(count)
    set_threads(count)


def mask_on(source: Any, image: Volume, name: str) -> Volume | None:
    """The mask on its image's grid; resampled by nearest neighbour where it lies on another; None for none.

    name: of the image, for the InputError where no voxel of it is left.
    """
    if source is None:
        return None
    mask = read_volume(source, kind="mask") if isinstance(source, str | os.PathLike) else as_volume(source)
    binary = Volume((mask.tensor > 0).to(torch.uint8), mask.geometry)
    if not binary.geometry.almost_equal(image.geometry):
        binary = resample(binary, Transform.identity(), image.geometry, interpolation="nearest")
        binary = replace(binary, notes=(f"the {name} mask lies on another grid and is resampled",))
    if not bool(binary.tensor.any()):
        raise InputError(f"the {name} mask is empty on the {name} image's grid; check that it belongs to that image")
    return binary


def _overlap_notes(measure: PoseMeasure, matrix: NDArray[np.float64]) -> list[str]:
    apart, share = (float(measure.of_matrices(measure.oriented(m)[None])[0][0]) for m in (np.eye(4), matrix))
    if share < LEAST_SHARE:
        raise RegistrationError(
            f"the images hardly meet: {100 * share:.0f} % of the smaller one lies inside the other after alignment; "
            "check that both show the same region, or bring them nearer in their headers"
        )
    notes = ["the headers put the images apart; they were brought together by their middles"] * (apart < LEAST_SHARE)
    return notes + [f"only {100 * share:.0f} % of the smaller image lies inside the other"] * (share < 0.5)
