"""Points moved by a transform, exactly: a point of the moving image is sent to where the transform would fetch it.

A transform maps fixed points to moving points.  So points of the fixed image go through the transform itself, and
points of the moving image through its inverse, which is solved point by point on the transform itself rather than read
from a sampled inverse field.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.points import Landmarks
from deformgan.kernels.resample import displace
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, DisplacementField, Transform
from deformgan.warping.chain import TransformLike, chain

Points = NDArray[np.float64]

TOLERANCE_MM = 1e-4
_AIM_MM = 1e-7  # inside each field, so that the whole chain keeps the tolerance
_ROUNDS = 40
_STARTS = 8
_NODES = 4_000_000
_LEAST = 1e-3  # a determinant below this throws Newton's step far away; one whose steps shrink to this is stuck
_SIDES = np.concatenate([np.eye(3), -np.eye(3)])


@overload
def warp_points(
    points: Landmarks, transform: TransformLike | Sequence[TransformLike], *, inverse: bool = False
) -> Landmarks: ...
@overload
def warp_points(
    points: NDArray[Any], transform: TransformLike | Sequence[TransformLike], *, inverse: bool = False
) -> Points: ...
def warp_points(
    points: Landmarks | NDArray[Any], transform: TransformLike | Sequence[TransformLike], *, inverse: bool = False
) -> Landmarks | Points:
    """Points of the moving image -> where they lie in the fixed image; with `inverse`, of the fixed in the moving one.

    points: (N, 3), LPS mm, x y z, or Landmarks; the same comes back.  transform: as `chain` takes it, fixed point ->
    moving point.  Warns of points for which no position was found to 1e-4 mm, as beyond a field's border or where it
    folds; these come back at the closest position found.  Raises InputError for another shape.

    >>> import deformgan
    >>> import numpy as np
    >>> from deformgan.spatial.transform import Affine
    >>> ten_to_the_left = np.eye(4)
    >>> ten_to_the_left[0, 3] = 10.0                       # fixed point -> moving point, LPS mm
    >>> transform = deformgan.Transform((Affine(ten_to_the_left),))
    >>> deformgan.warp_points(np.array([[10.0, 5.0, 0.0]]), transform).tolist()
    [[0.0, 5.0, 0.0]]
    """
    given = points.points if isinstance(points, Landmarks) else np.asarray(points, np.float64)
    names = points.names if isinstance(points, Landmarks) else ()
    moved, error_mm = move(given, chain(transform), inverse=inverse)
    if sentence := failures(error_mm, names):
        warnings.warn(sentence.removeprefix("warning: "), stacklevel=2)
    return replace(points, points=moved) if isinstance(points, Landmarks) else moved


def move(points: Points, transform: Transform, *, inverse: bool) -> tuple[Points, Points]:
    """(points of the moving image brought to the fixed one (N, 3), how far each misses (N,) mm); see `warp_points`."""
    if inverse:
        return transform.apply(points), np.zeros(len(points))
    return solve(transform, points)


def failures(error_mm: Points, names: Sequence[str] = ()) -> str:
    """A warning about the points whose position was not found; empty where all were."""
    if not (missed := np.flatnonzero(error_mm > TOLERANCE_MM)).size:
        return ""
    shown = [
        f"{names[n] if n < len(names) and names[n] else f'number {n + 1}'} ({error_mm[n]:.2g} mm)"
        for n in missed.tolist()
    ]
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return (
        f"warning: {missed.size} of {len(error_mm)} points have no position that the transform takes to them (beyond "
        f"the border of its field, or where it folds); the closest is given, missing by: {', '.join(shown[:5])}{more}"
    )


def solve(transform: Transform, points: NDArray[np.floating[Any]]) -> tuple[Points, Points]:
    """(x (N, 3) with transform(x) = points, |transform(x) - points| (N,) mm): the exact inverse, point by point.

    Affines are inverted as matrices; a field by x <- x - (x + u(x) - y), and where that does not settle by Newton's
    iteration from the lattice nodes whose images lie closest.
    """
    goal = np.array(points, dtype=np.float64)
    if goal.ndim != 2 or goal.shape[1] != 3:
        raise InputError(f"points must be (N, 3), x y z in mm, got {goal.shape}")
    found = goal
    for part in reversed(transform.merged().parts):
        if isinstance(part, Affine):
            found = np.linalg.solve(part.matrix[:3, :3], (found - part.matrix[:3, 3]).T).T.astype(np.float64)
        else:
            found = _through_field(part, found)
    return found, np.linalg.norm(transform.apply(found) - goal, axis=1)


def _through_field(field: DisplacementField, goal: Points) -> Points:
    """x with x + u(x) = goal, as close as can be found."""
    x, error = _iterated(field, goal)
    if (left := np.flatnonzero(error > _AIM_MM)).size:
        x[left], error[left] = _newton(field, goal[left], x[left])
    if (left := np.flatnonzero(error > _AIM_MM)).size:
        for start in _near_nodes(field, goal[left]):
            tried, size = _newton(field, goal[left], start)
            better = size < error[left]
            x[left[better]], error[left[better]] = tried[better], size[better]
    return x


def _iterated(field: DisplacementField, goal: Points) -> tuple[Points, Points]:
    """(x, |x + u(x) - goal|) by x <- x - (x + u(x) - goal) from x = goal; the best of the way."""
    x, error, trial, active = goal.copy(), np.full(len(goal), np.inf), goal.copy(), np.arange(len(goal))
    for _ in range(_ROUNDS):
        miss = goal[active] - displace(trial, field.displacement, field.geometry.inverse)
        size = np.linalg.norm(miss, axis=1)
        better = size < error[active]
        x[active[better]], error[active[better]] = trial[better], size[better]
        open_ = size > _AIM_MM
        active, trial = active[open_], (trial + miss)[open_]
        if not active.size:
            break
    return x, error


def _near_nodes(field: DisplacementField, goal: Points) -> Points:
    """(starts, N, 3): the lattice nodes whose images lie closest to each goal, to start Newton's iteration from."""
    from scipy.spatial import cKDTree

    step = max(1, int(np.ceil((np.prod(field.geometry.size) / _NODES) ** (1 / 3))))
    thin = (slice(None, None, step),) * 3
    nodes = voxel_points(field.geometry)[thin].reshape(-1, 3)
    tree = cKDTree(nodes + field.displacement[thin].reshape(-1, 3), balanced_tree=False)
    _, chosen = tree.query(goal, k=list(range(1, min(_STARTS, len(nodes)) + 1)))
    near: Points = nodes[chosen.T]
    return near


def _newton(field: DisplacementField, goal: Points, start: Points) -> tuple[Points, Points]:
    """(x, |x + u(x) - goal|) by Newton's iteration with halved steps where a whole one does not help."""
    reach = 0.05 * min(field.geometry.spacing)

    def image(at: Points) -> Points:
        return displace(at, field.displacement, field.geometry.inverse)

    x, miss = start.copy(), goal - image(start)
    error, stride = np.linalg.norm(miss, axis=1), np.ones(len(goal))
    for _ in range(_ROUNDS):
        if not (active := np.flatnonzero((error > _AIM_MM) & (stride > _LEAST))).size:
            break
        at = x[active]
        sides = image((at + reach * _SIDES[:, None]).reshape(-1, 3)).reshape(6, -1, 3)
        a, b, c = (sides[:3] - sides[3:]) / (2 * reach)
        rows = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], 1)  # the inverse times the determinant
        det = (a * rows[:, 0]).sum(1)
        det = np.where(np.abs(det) < _LEAST, np.copysign(_LEAST, det), det)
        way = (rows @ miss[active][..., None])[..., 0] / det[:, None]
        trial = at + stride[active, None] * way
        tried = goal[active] - image(trial)
        size = np.linalg.norm(tried, axis=1)
        better = size < error[active]
        stride[active] = np.where(better, np.minimum(1.0, stride[active] * 2), stride[active] / 2)
        moved = active[better]
        x[moved], miss[moved], error[moved] = trial[better], tried[better], size[better]
    return x, error
