"""How far the surfaces of labels lie apart, in mm: 95th percentile of the Hausdorff distance, and the mean distance.

A voxel is of a label's surface if one of its six neighbours is not of that label, or if it lies at the image's border;
its place is its centre.  So do MONAI's compute_hausdorff_distance and compute_average_surface_distance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deformgan.evaluation.overlap import CodedLabels, Codes

Points = NDArray[np.float64]
Distances = NDArray[np.float64]


class SurfaceDistances(NamedTuple):
    """By label, (N,) mm each; NaN where one of the images lacks the label, since there is no surface to go to."""

    hd95_mm: Distances
    assd_mm: Distances


def surface_distances(labels: CodedLabels, spacing: tuple[float, float, float]) -> SurfaceDistances:
    """HD95 and ASSD of every label; spacing: x, y, z, mm.

    HD95: the larger of the two directed 95th percentiles, interpolated linearly.  ASSD: the mean over the surface
    voxels of both images.
    """
    count = len(labels.values)
    found = np.full((2, count), np.nan)
    both = [_points_by_label(codes, count, spacing) for codes in (labels.fixed, labels.warped)]
    for n, (fixed, warped) in enumerate(zip(*both, strict=True)):
        if len(fixed) and len(warped):
            there, back = nearest(fixed, warped), nearest(warped, fixed)
            found[0, n] = max(np.percentile(there, 95), np.percentile(back, 95))
            found[1, n] = np.concatenate([there, back]).mean()
    return SurfaceDistances(found[0], found[1])


def nearest(points: Points, others: Points) -> Distances:
    """(N,) how far each of points (N, 3) is from the nearest of others (M, 3)."""
    from scipy.spatial import KDTree

    # A tree of the few surface voxels: a distance transform would visit every voxel of the label's box.
    tree = KDTree(others, leafsize=32, balanced_tree=False, compact_nodes=False)
    distance: Distances = tree.query(points, workers=-1)[0]
    return distance


def _points_by_label(codes: Codes, count: int, spacing: tuple[float, float, float]) -> list[Points]:
    """For each label 1 to count its surface voxels' centres (N, 3), z y x, mm, on axes that follow the grid."""
    place = np.flatnonzero(_surface(codes))
    label = codes.ravel()[place]
    order = np.argsort(label, kind="stable")
    index = np.stack(np.unravel_index(place[order], codes.shape), 1)
    ends = np.cumsum(np.bincount(label, minlength=count + 1))
    return np.split(index * np.array(spacing[::-1]), ends[:-1])[1:]


def _surface(codes: Codes) -> NDArray[np.bool_]:
    """Where a label ends, for all labels at once."""
    edge = np.zeros(codes.shape, bool)
    for axis in range(3):
        along, marked = np.moveaxis(codes, axis, 0), np.moveaxis(edge, axis, 0)
        differs = along[1:] != along[:-1]
        marked[1:] |= differs
        marked[:-1] |= differs
        marked[0] = marked[-1] = True
    return edge & (codes > 0)
