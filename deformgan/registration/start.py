"""Where to begin: the header's position, the centres, and many rotations and shifts about them at a coarse level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deformgan.registration.affine import climb, side_by_side
from deformgan.registration.appearance import Appearance
from deformgan.registration.pose import BACKGROUND_SHARE, COARSE_MM, COARSE_SAMPLES, PoseMeasure, Poses
from deformgan.spatial.affine import from_parameters, to_parameters
from deformgan.spatial.ranges import Ranges

Array = NDArray[np.float64]

TURN = np.deg2rad(20)  # step of the rotations about each axis
SHIFT_MM = 15.0  # step of the shifts
REACH_MM = 65.0  # farthest shift
DISTINCT_MM = 12.0  # two candidates nearer than this at the tissue's radius are one
SAME_MM = 3.0  # likewise, of two that have been climbed
TRIED = 16  # distinct candidates climbed
BLURS_MM = (32.0, 24.0, 16.0, COARSE_MM)  # voxels at which the climbs from the header's position begin
BACKGROUNDS = (BACKGROUND_SHARE, 1.0)  # shares of the background in the samples of these climbs


def find_starts(poses: Poses, fixed: Appearance, moving: Appearance, ranges: Ranges) -> list[Array]:
    """Rigid maps within `ranges` to go on from, 4x4, LPS mm, fixed -> moving: from the header's own position first."""
    coarse = poses.coarse
    candidates = _candidates(coarse, _shifts(fixed, moving, coarse.inverted))
    low, high = ranges.limits("rigid")
    candidates = candidates[((candidates >= low) & (candidates <= high)).all(1)]
    matrices = _rigid_matrices(candidates, coarse.centre)
    scores = coarse.of_matrices(matrices)[1]
    chosen = _distinct(candidates, np.argsort(-scores, kind="stable"), coarse.radius, DISTINCT_MM, TRIED)
    begun = [np.eye(4), *(coarse.oriented(matrices[k]) for k in chosen)]
    return _apart(coarse, side_by_side(lambda matrix: climb(coarse, matrix, "rigid", 12, ranges)[0], begun))


def starts_near_header(poses: Poses, fixed: Appearance, moving: Appearance, seed: int, ranges: Ranges) -> list[Array]:
    """The same without a search: where climbs from the header's own position end.

    They begin at several blurs, some by shifts alone, each with samples mostly of tissue and with samples of all there
    is: the outline tells from far off, unless the background is missing data. Which one ends in the right basin differs
    from pair to pair, and the affine stage tells them apart.
    """
    coarse = poses.coarse

    def ladder_with(background: float) -> list[PoseMeasure]:
        return [
            PoseMeasure.between(fixed.at(mm), moving.at(mm), COARSE_SAMPLES, seed, coarse.engine, background)
            for mm in BLURS_MM
        ]

    ways = [
        (ladder[k:], shifted)
        for ladder in map(ladder_with, BACKGROUNDS)
        for k in reversed(range(len(ladder)))
        for shifted in (False, True)
    ]

    def ended(way: tuple[list[PoseMeasure], bool]) -> Array:
        ladder, shifted = way
        matrix = climb(ladder[0], np.eye(4), "translation", 30, ranges)[0] if shifted else np.eye(4)
        for measure in ladder:
            matrix, _ = climb(measure, matrix, "rigid", 30, ranges)
        return matrix

    return _apart(coarse, side_by_side(ended, ways))


def _apart(measure: PoseMeasure, matrices: list[Array]) -> list[Array]:
    """Those that differ from all before them."""
    ended = np.array([to_parameters(measure.oriented(matrix), measure.centre, "rigid") for matrix in matrices])
    return [matrices[k] for k in _distinct(ended, np.arange(len(ended)), measure.radius, SAME_MM, len(ended))]


def _shifts(fixed: Appearance, moving: Appearance, inverted: bool) -> Array:
    """(3, 3) mm, sampled -> other: the header's own, centre of the grids to centre, centre of the tissue to centre."""
    grids = moving.geometry.centre - fixed.geometry.centre
    tissue = _tissue_centre(moving) - _tissue_centre(fixed)
    return np.stack([np.zeros(3), grids, tissue]) * (-1 if inverted else 1)


def _tissue_centre(image: Appearance) -> Array:
    small = image.at(COARSE_MM)
    z, y, x = (float(i.mean()) for i in np.nonzero(small.foreground[0, 0].numpy()))
    centre: Array = (small.geometry.matrix @ np.array([x, y, z, 1.0]))[:3]
    return centre


def _candidates(measure: PoseMeasure, centres: Array) -> Array:
    """(K, 6) rigid parameters: every centre with every turn and every shift within reach."""
    turns = np.vstack([np.zeros(3), TURN * np.eye(3), -TURN * np.eye(3)])
    steps = np.arange(-np.floor(REACH_MM / SHIFT_MM), np.floor(REACH_MM / SHIFT_MM) + 1) * SHIFT_MM
    shifts = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    shifts = shifts[np.linalg.norm(shifts, axis=1) <= REACH_MM]
    return np.array([np.concatenate([r, c + t]) for c in centres for r in turns for t in shifts])


def _rigid_matrices(candidates: Array, centre: Array) -> Array:
    """(K, 4, 4) of (K, 6) rigid parameters; few of the turns differ."""
    turns, which = np.unique(candidates[:, :3], axis=0, return_inverse=True)
    still = np.zeros(3)
    matrices: Array = np.stack([from_parameters(np.r_[t, still], centre, "rigid") for t in turns])[which.ravel()]
    matrices[:, :3, 3] += candidates[:, 3:]
    return matrices


def _distinct(candidates: Array, order: NDArray[np.int64], radius: float, apart_mm: float, most: int) -> list[int]:
    """The first `most` of `order` that lie apart from each other."""
    scaled = candidates * np.array([radius] * 3 + [1.0] * 3)
    chosen: list[int] = []
    for k in order:
        if all(np.linalg.norm(scaled[k] - scaled[c]) > apart_mm for c in chosen):
            chosen.append(int(k))
        if len(chosen) == most:
            break
    return chosen
