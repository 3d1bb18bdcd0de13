"""Target registration error: how far from its counterpart a transform puts each landmark, mm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.spatial.transform import Transform

if TYPE_CHECKING:
    from deformgan.io.points import Landmarks

Points = NDArray[np.float64]


def paired(fixed: Landmarks, moving: Landmarks) -> tuple[Points, Points]:
    """Points (N, 3) of either image, LPS mm, that belong together: by name, else by order.

    By name where either image names each of its points but once and they share a name; points without a counterpart
    are then left out.  By order the numbers must agree.  Raises InputError.
    """
    names = [list(one.names) for one in (fixed, moving)]
    if all(len(set(own)) == len(own) and all(own) for own in names):
        where = {name: n for n, name in enumerate(names[1])}
        if both := [(n, where[name]) for n, name in enumerate(names[0]) if name in where]:
            order = np.array(both)
            return fixed.points[order[:, 0]], moving.points[order[:, 1]]
    if len(fixed.points) != len(moving.points):
        raise InputError(
            f"{len(fixed.points)} fixed and {len(moving.points)} moving landmarks share no names and differ in "
            "number; give both the same names, or the same order"
        )
    if len(fixed.points) == 0:
        raise InputError("there are no landmarks; give files with at least one point")
    return fixed.points, moving.points


def landmark_measures(transform: Transform, fixed: Points, moving: Points) -> dict[str, object]:
    """The errors after `transform` and before it (as the headers lie), mm, of points (N, 3), LPS mm.

    landmarks_improved_percent: how many came nearer, the robustness of Baheti et al. 2021 (BraTS-Reg).
    """
    before = np.linalg.norm(fixed - moving, axis=1)
    after = np.linalg.norm(transform.apply(fixed) - moving, axis=1)
    return {
        "landmarks": len(after),
        "tre_mm": spread(after),
        "tre_before_mm": spread(before),
        "landmarks_improved_percent": 100 * float((after < before).mean()),
    }


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """mean, median, p95 and max of values (N,)."""
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "p95": float(np.percentile(values, 95)),
        "max": float(values.max()),
    }
