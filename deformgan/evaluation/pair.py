"""Judge one registration by the files that are there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError, check_choice
from deformgan.evaluation import learn2reg
from deformgan.evaluation.cases import Case, completed
from deformgan.evaluation.intensity import intensity_measures
from deformgan.evaluation.landmarks import landmark_measures, paired
from deformgan.evaluation.overlap import coded_labels, overlap
from deformgan.evaluation.regularity import inverse_error, regularity
from deformgan.evaluation.surface import surface_distances
from deformgan.io.formats import read_volume
from deformgan.io.geometry import Geometry
from deformgan.io.learn2reg_files import read_voxel_displacement
from deformgan.io.points import read_landmarks
from deformgan.io.volume import Volume
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Transform

PROTOCOLS = ("physical", "learn2reg")
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class EvaluateOptions:
    """protocol: physical (mm, world coordinates) or learn2reg.  only: labels that count, none = all but 0.

    space: LPS or RAS, of landmarks in a CSV that does not say so.
    """

    protocol: str = "physical"
    only: tuple[int, ...] = ()
    space: str | None = None

    def __post_init__(self) -> None:
        check_choice("protocol", self.protocol, PROTOCOLS)
        if 0 in self.only:
            raise InputError("label 0 is the background; leave it out of the labels that count")


@dataclass
class Scores:
    """measures: of the whole case, by name.  labels: a row a label.  notes: what was repaired or assumed."""

    measures: dict[str, Any] = field(default_factory=dict)
    labels: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def evaluate_case(case: Case, options: EvaluateOptions | None = None) -> Scores:
    """Every measure for which `case` has the files.

    dice, hd95_mm, assd_mm are means over labels.  Raises InputError where a file cannot be used or files do not fit.
    """
    options, case = options or EvaluateOptions(), completed(case)
    return _learn2reg(case, options) if options.protocol == "learn2reg" else _physical(case, options)


def _physical(case: Case, options: EvaluateOptions) -> Scores:
    scores = Scores()
    transform = Transform.load(case.transform) if case.transform else Transform.identity()
    mask = read_volume(case.mask, kind="mask") if case.mask else None
    moving_grid = None
    if case.fixed_labels:
        grid, moving_grid = _judge_labels(case, transform, mask, options, scores)
    if case.fixed_points:
        pair = (read_landmarks(path, space=options.space) for path in (case.fixed_points, case.moving_points))
        scores.measures |= landmark_measures(transform, *paired(*pair))
    fixed, moving, warped = (_image(path, scores) for path in (case.fixed, case.moving, case.warped))
    if reference := fixed or warped:
        grid = reference.geometry
    if moving is not None:
        moving_grid = moving.geometry
    if case.transform and (case.fixed_labels or reference):
        where = _on(mask, grid, scores)
        scores.measures |= regularity(transform, grid, where)
        if case.inverse:
            error = inverse_error(transform, Transform.load(case.inverse), grid, moving_grid, where)
            scores.measures["inverse_error_mm"] = error
    if fixed is not None and (warped is not None or moving is not None):
        _judge_intensities(fixed, moving, warped, transform, _on(mask, fixed.geometry, scores), scores)
    return scores


def _judge_labels(
    case: Case, transform: Transform, mask: Volume | None, options: EvaluateOptions, scores: Scores
) -> tuple[Geometry, Geometry]:
    """Overlap and surfaces on the grid of the fixed labels; that grid and the moving labels'."""
    fixed, moving = (read_volume(path, kind="labels") for path in (case.fixed_labels, case.moving_labels))
    scores.notes += [*fixed.notes, *moving.notes]
    grid = fixed.geometry
    same = not transform.parts and grid.almost_equal(moving.geometry)
    warped = moving if same else resample(moving, transform, grid, interpolation="nearest")
    images = fixed.numpy(), warped.numpy()
    if (where := _on(mask, grid, scores)) is not None:
        images = np.where(where, images[0], 0), np.where(where, images[1], 0)
    labels = coded_labels(*images, only=options.only)
    if len(labels.values) == 0:
        raise InputError(
            f"{case.fixed_labels} and {case.moving_labels} hold no label (in the mask); 0 is the background"
        )
    counts, distances = overlap(labels), surface_distances(labels, grid.spacing)
    ml = float(np.prod(grid.spacing)) / 1000
    columns: dict[str, NDArray[Any]] = {
        "label": labels.values,
        "dice": counts.dice,
        "hd95_mm": distances.hd95_mm,
        "assd_mm": distances.assd_mm,
        "fixed_ml": ml * counts.fixed_voxels,
        "warped_ml": ml * counts.warped_voxels,
    }
    scores.labels += [
        dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)
    ]
    unmatched = (counts.fixed_voxels == 0) != (counts.warped_voxels == 0)
    scores.measures |= {
        **{name: _mean(columns[name]) for name in ("dice", "hd95_mm", "assd_mm")},
        "labels": int(np.isfinite(counts.dice).sum()),
        "labels_unmatched": int(unmatched.sum()),
    }
    return grid, moving.geometry


def _judge_intensities(
    fixed: Volume, moving: Volume | None, warped: Volume | None, transform: Transform, mask: Mask | None, scores: Scores
) -> None:
    if warped is None and moving is not None:
        # Where the moving image does not reach there is nothing to compare: NaN, which does not count.
        warped = resample(moving, transform, fixed.geometry, outside=float("nan"))
    if warped is None or not warped.geometry.almost_equal(fixed.geometry):
        raise InputError(
            "the warped image is not on the grid of the fixed image; give --moving and --transform instead"
        )
    scores.measures |= intensity_measures(fixed.numpy(), warped.numpy(), mask)


def _learn2reg(case: Case, options: EvaluateOptions) -> Scores:
    """Dice, HD95 (voxels), SDlogJ and TRE of the challenge, as far as the files are there."""
    scores = Scores()
    kind, names = ("labels", (case.fixed_labels, case.moving_labels)) if case.fixed_labels else (
        "image", (case.fixed, case.moving or case.fixed)
    )  # fmt: skip
    if not names[0]:
        raise InputError("--protocol learn2reg counts in voxels of the images; give --fixed and --moving, or labels")
    fixed, moving = (read_volume(name, kind=kind) for name in names)  # type: ignore[arg-type]
    u = read_voxel_displacement(case.transform) if case.transform else np.zeros((*fixed.geometry.size, 3), np.float32)
    if u is None:
        u = learn2reg.voxel_displacement(Transform.load(case.transform), fixed.geometry, moving.geometry)
    if u.shape[:3] != fixed.geometry.size:
        raise InputError(f"{case.transform}: its size is {u.shape[:3]}, that of {names[0]} {fixed.geometry.size}")
    if case.fixed_labels:
        _judge_labels_of_challenge(fixed, moving, u, options.only, scores)
    if case.fixed_points:
        f = learn2reg.read_points(case.fixed_points, fixed.geometry, options.space)
        m = learn2reg.read_points(case.moving_points, moving.geometry, options.space)
        if len(f) != len(m):
            raise InputError(f"{case.fixed_points} and {case.moving_points} differ in their number of landmarks")
        error = learn2reg.target_registration_error(f, m, u, moving.geometry.spacing)
        scores.measures["tre_mm"] = float(error.mean())
    if case.transform:
        mask = read_volume(case.mask, kind="mask") if case.mask else None
        where = _on(mask, fixed.geometry, scores)
        scores.measures["sdlogj"] = learn2reg.sd_log_jacobian(u, None if where is None else where.T)
    return scores


def _judge_labels_of_challenge(
    fixed: Volume, moving: Volume, u: NDArray[np.float32], only: tuple[int, ...], scores: Scores
) -> None:
    f, m = fixed.numpy(), moving.numpy()
    before = coded_labels(f, m, only=only)
    after = coded_labels(f, learn2reg.warped_labels(m.T, u).T, only=tuple(before.values.tolist()))
    both = np.ones(len(before.values), bool)
    for codes in (before.fixed, before.warped):
        both &= np.bincount(codes.ravel(), minlength=len(both) + 1)[1:] > 0
    found = (
        before.values,
        np.where(both, overlap(after).dice, np.nan),
        np.where(both, learn2reg.hd95_voxels(after), np.nan),
    )
    for label, dice, hd95 in zip(*(values.tolist() for values in found), strict=True):
        scores.labels.append({"label": label, "dice": dice, "hd95_voxels": hd95})
    for name in ("dice", "hd95_voxels"):
        scores.measures[name] = _mean(np.array([row[name] for row in scores.labels]))


def _image(path: str, scores: Scores) -> Volume | None:
    if not path:
        return None
    volume = read_volume(path)
    scores.notes += volume.notes
    return volume


def _on(mask: Volume | None, grid: Geometry, scores: Scores) -> Mask | None:
    """The mask on `grid`, by nearest neighbour where it lies on another."""
    if mask is None:
        return None
    if not mask.geometry.almost_equal(grid):
        note = "the mask lies on another grid and is resampled"
        scores.notes += [] if note in scores.notes else [note]
        mask = resample(mask, Transform.identity(), grid, interpolation="nearest")
    where: Mask = mask.numpy() != 0
    if not where.any():
        raise InputError("the mask is empty on the fixed grid; is it in fixed space?")
    return where


def _mean(values: NDArray[np.float64]) -> float:
    """Of the values that are there; NaN where none is."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else np.nan
