"""Rigid, then affine: climb the pose measure from a start with L-BFGS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.registration.options import Stage
from deformgan.registration.pose import FINE_MM, PoseMeasure, Poses
from deformgan.registration.progress import Progress, Show
from deformgan.spatial.affine import PARAMETERS, Model, from_parameters, to_parameters
from deformgan.spatial.ranges import Ranges

Array = NDArray[np.float64]

MOST_STRETCH = 0.5  # log scale or shear beyond which no pair of patients differs: a line search may not wander there


def rigid_then_affine(poses: Poses, start: Array, stage: Stage, ranges: Ranges, show: Show) -> Array:
    """The best map from `start` (4x4, LPS mm, fixed -> moving); more freedom is kept only where the score rises."""
    rigid, score = climb(poses.fine, start, "rigid", 40, ranges)
    show(Progress("rigid", f"{FINE_MM:g} mm", 1, 1, -score))
    if stage == "rigid":
        return rigid
    freer, _ = climb(poses.middle, start, "affine", 60, ranges)
    freer, freer_score = climb(poses.fine, freer, "affine", 60, ranges)
    show(Progress("affine", f"{FINE_MM:g} mm", 1, 1, -freer_score))
    return freer if freer_score > score else rigid


def climb(measure: PoseMeasure, start: Array, model: Model, iterations: int, ranges: Ranges) -> tuple[Array, float]:
    """The best map (4x4, LPS mm, fixed point -> moving point) of `model` near `start` within `ranges`, and its score.

    Rotations, scales and shears are counted in mm at the radius of the tissue, so one step means the same for all.
    """
    from scipy.optimize import minimize

    unit = np.ones(PARAMETERS[model])
    unit[:3] = unit[6:] = measure.radius

    def descent(q: Array) -> tuple[float, Array]:
        score, gradient = measure.with_derivative(q / unit, model)
        return -score, -gradient / unit

    p = to_parameters(measure.oriented(start), measure.centre, model)
    far = np.where(np.arange(p.size) < 6, np.inf, MOST_STRETCH)
    low, high = ranges.limits(model)
    bounds = np.stack([np.maximum(low, -far), np.minimum(high, far)], 1) * unit[:, None]
    options: dict[str, Any] = {"maxiter": iterations, "maxcor": 12}
    found = minimize(descent, p * unit, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    matrix = measure.oriented(from_parameters(found.x / unit, measure.centre, model))
    return matrix, -float(found.fun)
