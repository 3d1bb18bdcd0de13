"""Rigid, then affine: climb the pose measure from a start with L-BFGS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from deformgan.kernels.threads import threads_in_use
from deformgan.registration.options import Stage
from deformgan.registration.pose import FINE_MM, PoseMeasure, Poses
from deformgan.registration.progress import Progress, Show
from deformgan.spatial.affine import PARAMETERS, Model, from_parameters, to_parameters
from deformgan.spatial.ranges import Ranges

Array = NDArray[np.float64]
Item = TypeVar("Item")
Found = TypeVar("Found")

MOST_STRETCH = 0.5  # log scale or shear beyond which no pair of patients differs: a line search may not wander there
HEADER_BONUS = 1.05  # another basin must beat the header's own by this factor: the scanner's position means something
FINALISTS = 3  # basins climbed at the finest level
ENOUGH = 1e-6  # a step that raises the score by less, as a share of it, is the last


def rigid_then_affine(
    poses: Poses, starts: list[Array], stage: Stage, ranges: Ranges, show: Show, *, believable: Callable[[Array], bool]
) -> Array:
    """The best map from `starts` (4x4, LPS mm, fixed -> moving; the header's own first).

    The basin is chosen by affine climbs, since a scale of a few percent can hide the right one from rigid maps, and at
    the finer levels, since the coarse one is too rough to choose: there a limb may slide along itself, so one climb
    begins at the finest level from where the headers put the images. More freedom is kept only where the score rises.
    believable: of a map; where the best is not, a worse one that is goes before it.
    """

    def tried_from(start: Array) -> tuple[Array, float]:
        rough, _ = climb(poses.coarse, start, "affine", 20, ranges)
        return climb(poses.middle, rough, "affine", 15, ranges)

    tried = side_by_side(tried_from, starts)
    best = np.argsort([-score * _bonus(k) for k, (_, score) in enumerate(tried)], kind="stable")[:FINALISTS]
    begun = [(int(k), starts[k], tried[k][0]) for k in best] + [(0, np.eye(4), np.eye(4))]
    final = side_by_side(lambda way: climb(poses.fine, way[2], "affine", 60, ranges), begun)
    ranked = sorted(range(len(final)), key=lambda n: -final[n][1] * _bonus(begun[n][0]))
    winner = next((n for n in ranked if believable(final[n][0])), ranked[0])
    rigid, score = climb(poses.fine, begun[winner][1], "rigid", 40, ranges)
    show(Progress("rigid", FINE_MM, 1, 1, -score))
    if stage == "rigid":
        return rigid
    freer, freer_score = final[winner]
    show(Progress("affine", FINE_MM, 1, 1, -freer_score))
    return freer if freer_score > score else rigid


def side_by_side(work: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """`work` of each item, on as many threads as the kernels use; the order is kept."""
    with ThreadPoolExecutor(threads_in_use()) as pool:
        return list(pool.map(work, items))


def _bonus(k: int) -> float:
    return HEADER_BONUS if k == 0 else 1.0


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
    options: dict[str, Any] = {"maxiter": iterations, "maxcor": 12, "ftol": ENOUGH}
    found = minimize(descent, p * unit, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    matrix = measure.oriented(from_parameters(found.x / unit, measure.centre, model))
    return matrix, -float(found.fun)
