"""Rigid, then affine: climb the pose measure from a start with L-BFGS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.registration.pose import PoseMeasure
from deformgan.spatial.affine import PARAMETERS, Model, from_parameters, to_parameters

Array = NDArray[np.float64]


def climb(measure: PoseMeasure, start: Array, model: Model, iterations: int) -> tuple[Array, float]:
    """The best map (4x4, LPS mm, fixed point -> moving point) of `model` near `start`, and its score.

    Rotations, scales and shears are counted in mm at the radius of the tissue, so one step means the same for all.
    """
    from scipy.optimize import minimize

    unit = np.ones(PARAMETERS[model])
    unit[:3] = unit[6:] = measure.radius

    def descent(q: Array) -> tuple[float, Array]:
        score, gradient = measure.with_derivative(q / unit, model)
        return -score, -gradient / unit

    p = to_parameters(measure.oriented(start), measure.centre, model)
    options: dict[str, Any] = {"maxiter": iterations, "maxcor": 12}
    found = minimize(descent, p * unit, jac=True, method="L-BFGS-B", options=options)
    matrix = measure.oriented(from_parameters(found.x / unit, measure.centre, model))
    return matrix, -float(found.fun)
