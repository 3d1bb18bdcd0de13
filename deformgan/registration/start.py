"""Where to begin: the header's position, the centres, and many rotations and shifts about them at a coarse level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deformgan.registration.affine import climb
from deformgan.registration.appearance import Appearance
from deformgan.registration.pose import COARSE_MM, PoseMeasure, Poses
from deformgan.spatial.affine import from_parameters
from deformgan.spatial.ranges import Ranges

Array = NDArray[np.float64]

TURN = np.deg2rad(20)  # step of the rotations about each axis
SHIFT_MM = 15.0  # step of the shifts
REACH_MM = 65.0  # farthest shift
DISTINCT_MM = 12.0  # two starts nearer than this at the tissue's radius are one
HEADER_BONUS = 1.10  # another basin must beat the header's own by this factor: the scanner's position means something


def find_start(poses: Poses, fixed: Appearance, moving: Appearance, ranges: Ranges) -> Array:
    """The best rigid map within `ranges`, 4x4, LPS mm, fixed point -> moving point."""
    coarse, finer = poses.coarse, poses.middle
    header = climb(finer, climb(coarse, np.eye(4), "rigid", 20, ranges)[0], "rigid", 20, ranges)
    candidates = _candidates(coarse, _shifts(fixed, moving, coarse.inverted))
    low, high = ranges.limits("rigid")
    candidates = candidates[((candidates >= low) & (candidates <= high)).all(1)]
    matrices = np.stack([from_parameters(p, coarse.centre, "rigid") for p in candidates])
    scores = coarse.of_matrices(matrices)[1]
    chosen = _distinct(candidates, np.argsort(-scores, kind="stable"), coarse.radius, most=10)
    climbed = [climb(coarse, coarse.oriented(matrices[k]), "rigid", 12, ranges) for k in chosen]
    climbed.sort(key=lambda found: -found[1])
    best = max((climb(finer, matrix, "rigid", 20, ranges) for matrix, _ in climbed[:3]), key=lambda found: found[1])
    return best[0] if best[1] > HEADER_BONUS * header[1] else header[0]


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


def _distinct(candidates: Array, order: NDArray[np.int64], radius: float, most: int) -> list[int]:
    """The first `most` of `order` that lie apart from each other."""
    scaled = candidates * np.array([radius] * 3 + [1.0] * 3)
    chosen: list[int] = []
    for k in order:
        if all(np.linalg.norm(scaled[k] - scaled[c]) > DISTINCT_MM for c in chosen):
            chosen.append(int(k))
        if len(chosen) == most:
            break
    return chosen
