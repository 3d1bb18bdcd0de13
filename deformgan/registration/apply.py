"""Apply a transform to an image or to labels, on any grid."""

from __future__ import annotations

import os
from typing import Any

import torch

from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume, as_volume
from deformgan.spatial.resample import Interpolation, resample
from deformgan.spatial.transform import Transform


def warp(
    image: Any,
    transform: Transform | str | os.PathLike[str],
    reference: Any,
    *,
    labels: bool = False,
    inverse: bool = False,
    interpolation: Interpolation | None = None,
) -> Volume:
    """`image` on the grid of `reference`, whose points `transform` maps to points of `image` (LPS mm).

    image, reference: as `as_volume` takes them; reference may be a Geometry.  labels: nearest neighbour, the integer
    type is kept.  inverse: apply the inverse of `transform`.  interpolation: linear unless labels.  Outside the image
    the result is its lowest value, 0 for labels.  Raises InputError.
    """
    if not isinstance(transform, Transform):
        transform = Transform.load(transform)
    moving = _labels(image) if labels else as_volume(image)
    grid = reference if isinstance(reference, Geometry) else as_volume(reference).geometry
    chosen: Interpolation = interpolation or ("nearest" if labels else "linear")
    outside = 0.0 if labels else float(moving.tensor.min())
    return resample(moving, transform.inverse() if inverse else transform, grid, interpolation=chosen, outside=outside)


def _labels(source: Any) -> Volume:
    if isinstance(source, str | os.PathLike):
        from deformgan.io.formats import read_volume

        return read_volume(source, kind="labels")
    volume = as_volume(source)
    if volume.tensor.is_floating_point():
        return Volume(volume.tensor.round().to(torch.int32), volume.geometry, volume.notes)
    return volume
