"""The measures of the Learn2Reg challenge, as its published evaluation computes them, for figures to be held together.

A displacement is (X, Y, Z, 3), components x, y, z in voxels: fixed voxel i corresponds to moving voxel i + u(i).
Source: Hering et al. 2023, doi 10.1109/TMI.2022.3213983, and the challenge's evaluation code, version 2.0.  Where the
challenge departs from the physical measures of this package:

* SDlogJ is the SD of log(J + 3), not of log J; two voxels at every border are left out.
* HD95 is in voxels, of surface elements weighted by their area, at the corners between voxels; no interpolation.
* TRE interpolates the displacement by cubic splines and counts in mm by the moving image's spacing.
* A label counts only if both label images hold it before the transform; if warping loses it, Dice is 0, HD95 infinite.
"""

from __future__ import annotations

import os
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.evaluation.overlap import CodedLabels
from deformgan.evaluation.surface import nearest
from deformgan.io.geometry import Geometry
from deformgan.spatial.transform import Transform, slabs

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Corner = tuple[int, ...]

_CROP = (slice(2, -2),) * 3
_CORNERS: list[Corner] = list(product((0, 1), repeat=3))
# Area of the surface that cuts a connected set of corners from the rest of a cube of unit sides, at half the edges.
_AREA = {
    "corner": np.sqrt(3) / 8,
    "edge": np.sqrt(2) / 2,
    "bend": 0.5 + 3 * np.sqrt(3) / 8,
    "face": 1.0,
    "star": 3 * np.sqrt(3) / 4,
    "chain": np.sqrt(2) / 2 + np.sqrt(3) / 2,
}


def read_points(path: str | os.PathLike[str], grid: Geometry, space: str | None = None) -> Array:
    """Landmarks (N, 3) in voxels of `grid`: from the challenge's CSV (voxels, no header), or from a file in mm."""
    from deformgan.io.points import read_landmarks

    try:
        voxels = np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8-sig")
    except (OSError, ValueError):  # it has a header, or is no CSV: what read_landmarks says is the better message
        points = read_landmarks(path, space=space).points
        voxels = points @ grid.inverse[:3, :3].T + grid.inverse[:3, 3]
    if voxels.shape[1:] != (3,) or not len(voxels) or not np.isfinite(voxels).all():
        raise InputError(f"{path}: expected rows of three finite numbers, voxels x, y, z; got {voxels.shape}")
    return voxels


def voxel_displacement(transform: Transform, fixed: Geometry, moving: Geometry) -> NDArray[np.float32]:
    """(X, Y, Z, 3), voxels: index in `moving` of what fixed voxel i corresponds to, minus i."""
    out = np.empty((*fixed.shape, 3), np.float32)
    for start, stop, slab in slabs(fixed):
        index = np.stack(np.meshgrid(*[np.arange(n) for n in slab.shape], indexing="ij")[::-1], -1).reshape(-1, 3)
        moved = transform.apply(index @ slab.matrix[:3, :3].T + slab.matrix[:3, 3])
        moved = moved @ moving.inverse[:3, :3].T + moving.inverse[:3, 3]
        out[start:stop] = (moved - index - (0, 0, start)).reshape(out[start:stop].shape)
    return out.transpose(2, 1, 0, 3)


def sd_log_jacobian(u: Array, mask: Mask | None = None) -> float:
    """SD of log(J + 3), held in [1e-9, 1e9], over all but two voxels at every border; mask: (X, Y, Z)."""
    from deformgan.kernels.field import jacobian_determinant

    determinant = jacobian_determinant(np.ascontiguousarray(u.transpose(3, 0, 1, 2), np.float32))[_CROP]
    values = determinant if mask is None else determinant[mask[_CROP]]
    if values.size == 0:
        raise InputError("no voxel to compute SDlogJ over; Learn2Reg leaves out two voxels at every border")
    return float(np.log((values.astype(np.float64) + 3).clip(1e-9, 1e9)).std())


def warped_labels(moving: Array, u: Array) -> Array:
    """moving (X, Y, Z) read at the nearest voxel of i + u(i), 0 beyond the outermost voxel centres."""
    from scipy.ndimage import map_coordinates

    out = np.empty(u.shape[:3], moving.dtype)
    for x in range(len(out)):  # a plane at a time: positions in double precision would take ten times the labels
        at = u[x].transpose(2, 0, 1).astype(np.float64)
        at[0] += x
        at[1:] += np.indices(out.shape[1:])
        out[x] = map_coordinates(moving, at, order=0)
    return out


def target_registration_error(fixed: Array, moving: Array, u: Array, spacing: tuple[float, float, float]) -> Array:
    """(N,) mm, of landmarks (N, 3) in voxels of their own image; spacing: of the moving image, x, y, z."""
    from scipy.ndimage import map_coordinates

    way = np.stack([map_coordinates(u[..., axis].astype(np.float64), fixed.T) for axis in range(3)], 1)
    error: Array = np.linalg.norm((fixed + way - moving) * np.array(spacing), axis=1)
    return error


def hd95_voxels(labels: CodedLabels) -> NDArray[np.float64]:
    """(N,) 95th percentile of the Hausdorff distance of every label, voxels; infinite where one image lacks it."""
    from scipy.ndimage import find_objects

    count = len(labels.values)
    out = np.full(count, np.inf)
    boxes = [find_objects(codes, count) for codes in (labels.fixed, labels.warped)]
    for n, (one, other) in enumerate(zip(*boxes, strict=True)):
        if one is None or other is None:
            continue
        box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
        (f, area_f), (w, area_w) = (_surface_elements(codes[box] == n + 1) for codes in (labels.fixed, labels.warped))
        out[n] = max(_percentile(nearest(f, w), area_f), _percentile(nearest(w, f), area_w))
    return out


def _percentile(distance: Array, area: Array) -> float:
    """The distance within which 95 % of the area lies."""
    order = np.lexsort((area, distance))
    share = np.cumsum(area[order]) / np.sum(area)
    return float(distance[order][min(int(np.searchsorted(share, 0.95)), len(order) - 1)])


def _surface_elements(mask: Mask) -> tuple[Array, Array]:
    """Corners (N, 3) between voxels where the mask changes, and the surface's area (N,) about each."""
    padded = np.pad(mask, 1).astype(np.uint8)
    code = np.zeros([n - 1 for n in padded.shape], np.uint8)
    for bit, corner in enumerate(_CORNERS):
        code |= padded[tuple(slice(c, c + n) for c, n in zip(corner, code.shape, strict=True))] << bit
    place = np.argwhere((code != 0) & (code != 255))
    return place.astype(np.float64), _areas()[code[tuple(place.T)]]


@cache
def _areas() -> NDArray[np.float64]:
    """(256,): by the eight voxels about a corner, bit by bit, the area of the surface between them."""
    out = np.zeros(256)
    for code in range(256):
        kept: set[Corner] = {c for bit, c in enumerate(_CORNERS) if code >> bit & 1}
        rest = set(_CORNERS) - kept
        left = kept if len(kept) <= 4 else rest  # the surface is that of the smaller side
        while left:
            part, front = set(), {left.pop()}
            while front:
                part |= front
                front = {c for c in left if any(_side_by_side(c, f) for f in front)}
                left = left - front
            out[code] += _AREA[_shape_of(part)]
    return out


def _side_by_side(a: Corner, b: Corner) -> bool:
    return sum(abs(i - j) for i, j in zip(a, b, strict=True)) == 1


def _shape_of(part: set[Corner]) -> str:
    """What a connected set of at most four corners of a cube looks like."""
    neighbours = sorted(sum(_side_by_side(a, b) for b in part) for a in part)
    if len(part) < 4:
        return ("corner", "edge", "bend")[len(part) - 1]
    return "face" if neighbours[0] == 2 else "star" if neighbours[-1] == 3 else "chain"
