"""What a registration would do: its input checked as `register_files` does, its stages, what they will take."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from deformgan.cost import Plan, of_registration
from deformgan.io.formats import read_volume
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.registration.appearance import Appearance, factors_at
from deformgan.registration.bridge import check_options, parted, role_of_mr
from deformgan.registration.magnified import magnification
from deformgan.registration.models import Model, left_to_refine, load_model, models_named
from deformgan.registration.options import PRESETS, RegisterOptions
from deformgan.registration.pipeline import device_of, mask_on
from deformgan.registration.progress import in_words
from deformgan.registration.recipe import BRIDGED, SIMILARITY
from deformgan.spatial.pyramid import shrunk_shape


def plan_files(
    fixed: str,
    moving: str,
    fixed_mask: str | None = None,
    moving_mask: str | None = None,
    *,
    volume: int | None = None,
    bridged: bool = False,
    gan_steps: int = 0,
    options: RegisterOptions | None = None,
) -> Plan:
    """The plan of `register_files` with these; raises what that would raise for the input.

    bridged: a model makes a CT of the MR.  gan_steps: of a training on this pair, before.  Whether the images meet is
    told by the search alone, which is not made here.
    """
    options = options or RegisterOptions()
    pair = [read_volume(path, volume=volume) for path in (fixed, moving)]
    if bridged:
        role_of_mr(pair[0], pair[1], (fixed, moving))
    check_options(options, bridged=bridged)
    device_of(options.device)
    models = [load_model(name) for name in models_named(options.model)]
    masks = mask_on(fixed_mask, pair[0], "fixed"), mask_on(moving_mask, pair[1], "moving")
    f, m = (Appearance.of(v, mask, torch.device("cpu")) for v, mask in zip(pair, masks, strict=True))
    levels = _levels(options, models)
    similarity = options.similarity or (BRIDGED.similarity if bridged else SIMILARITY)
    terms = [*(weights := parted(similarity))[0], *["bridge"] * (weights[1] > 0)]
    larger = magnification(pair[0].geometry, pair[1].geometry, by_model=bool(models))
    sizes = [(voxels_at(pair[0].geometry, mm / larger), iterations) for mm, iterations in levels]
    steps = [f"train T, G and D on this pair alone, {gan_steps} steps"] * bool(gan_steps)
    steps += [
        f"read the fixed image, {described(pair[0])}",
        f"read the moving image, {described(pair[1])}",
        *["make a CT of the MR, which stands for it"] * bridged,
        "look for the position: " + ("all over" if options.search else "from the headers' own alone"),
        "rigid" if options.stage == "rigid" else "rigid, then affine",
    ]
    steps += [f"model {', '.join(model.name for model in models)} predicts"] * bool(models)
    if levels:
        kind = "CT and MR, " if f.ct != m.ct else ""
        at = ", ".join(f"{in_words(mm / larger)} ({iterations})" for mm, iterations in levels)
        steps.append(f"deformable: {kind}{similarity}; voxels (iterations) {at}")
    steps.append("judge each stage, keep the best; bring the moving image onto the fixed grid, once")
    cost = of_registration(
        pair[0].tensor.numel(), pair[1].tensor.numel(), sizes, terms, predicted=bool(models), gan_steps=gan_steps
    )
    return Plan(tuple(steps), cost, tuple(note for v in (*pair, *masks) if v for note in v.notes))


def voxels_at(grid: Geometry, spacing_mm: float) -> int:
    """How many voxels `Appearance.at` leaves of a grid."""
    return math.prod(shrunk_shape(grid.shape, factors_at(grid, spacing_mm)))


def described(image: Volume) -> str:
    """Size and spacing, x y z."""
    grid = image.geometry
    return f"{' x '.join(map(str, grid.size))} voxels of {' x '.join(f'{s:.3g}' for s in grid.spacing)} mm"


def _levels(options: RegisterOptions, models: Sequence[Model]) -> Sequence[tuple[float, int]]:
    """(voxel in mm, iterations) of the deformable stage, without what a model that is named has done already."""
    levels: Sequence[tuple[float, int]] = PRESETS[options.preset].levels
    if options.stage != "deformable" or (models and not options.refine):
        return ()
    return left_to_refine(levels, models[0]) if len(models) == 1 else levels
