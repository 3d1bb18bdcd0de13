"""Which part of an image is missing, not air: dark up to its border, where the other shows the inside of a body.

The edge of a padded, cut or skull-stripped image looks like an edge of tissue and would pull the field. Neither the
header nor the intensity alone tells such a part from air; the other image, once aligned affinely, does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from deformgan.registration.appearance import Appearance
from deformgan.spatial.grid import reversed_axes

GRID_MM = 3.0
DEEP_MM = 12.0  # below the other's surface, farther than the two poses can be apart
SPREAD_MM = 18.0  # from there on through the dark, up to the surface
THIN_MM = 10.0  # dark sheets thinner than this, such as bone in an MR, are not missing


def without_missing(
    fixed: Appearance, moving: Appearance, matrix: NDArray[np.float64]
) -> tuple[Appearance, Appearance]:
    """Both, what is missing made invalid.  matrix: fixed point -> moving point, LPS mm."""
    to_fixed: NDArray[np.float64] = np.linalg.inv(matrix).astype(np.float64)
    return _less(fixed, missing(fixed, moving, matrix)), _less(moving, missing(moving, fixed, to_fixed))


def missing(image: Appearance, other: Appearance, matrix: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where `image`, at GRID_MM, holds no data though `other` shows tissue.  matrix: its points -> the other's."""
    from scipy import ndimage

    small, far = image.at(GRID_MM), other.at(GRID_MM)
    spacing = small.geometry.spacing[::-1]
    dark = small.foreground[0, 0].cpu().numpy() == 0
    if not dark.any():
        return dark
    thick = _within(_within(~dark, THIN_MM / 2, spacing) == 0, THIN_MM / 2, spacing) & dark
    seed = np.zeros_like(dark)
    for axis in range(3):
        ends = [slice(None)] * 3
        for ends[axis] in (0, -1):  # type: ignore[call-overload]
            seed[tuple(ends)] = thick[tuple(ends)]
    outer = ndimage.binary_propagation(seed, mask=thick)
    tissue = far.foreground[0, 0].cpu().numpy() > 0
    deep = ndimage.distance_transform_edt(tissue, sampling=far.geometry.spacing[::-1]) > DEEP_MM
    to_far = reversed_axes(far.geometry.inverse @ matrix @ small.geometry.matrix)
    inside = ndimage.affine_transform(
        deep.astype(np.uint8), to_far[:3, :3], to_far[:3, 3], dark.shape, order=0, mode="constant", cval=0
    )
    core = outer & (inside > 0)
    if not core.any():
        return core
    rim = np.ones((3, 3, 3), bool)  # one voxel of partial volume
    gone: NDArray[np.bool_] = ndimage.binary_dilation(_within(core, SPREAD_MM, spacing) & dark, rim)
    return gone


def _within(region: NDArray[np.bool_], mm: float, spacing: tuple[float, ...]) -> NDArray[np.bool_]:
    """All voxels no farther than `mm` from the region."""
    from scipy import ndimage

    if not region.any():
        return region
    near: NDArray[np.bool_] = ndimage.distance_transform_edt(~region, sampling=spacing) <= mm
    return near


def _less(image: Appearance, gone: NDArray[np.bool_]) -> Appearance:
    if not gone.any():
        return image
    known = torch.from_numpy(~gone).to(image.image)[None, None]
    known = torch.nn.functional.interpolate(known, size=image.geometry.shape, mode="nearest-exact")
    return replace(image, valid=known if image.valid is None else image.valid * known)
