"""Apply a transform to an image or to labels, on any grid."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.formats import read_volume
from deformgan.io.headers import read_contents
from deformgan.io.volume import Volume, as_volume
from deformgan.spatial.resample import Interpolation, resample
from deformgan.spatial.transform import Transform
from deformgan.warping.chain import TransformLike, chain
from deformgan.warping.grids import output_grid
from deformgan.warping.labels import looks_like_labels, lost_labels
from deformgan.warping.points import move

WARNING = "warning: "  # how a note begins that is shown whatever else is not
EMPTY = f"{WARNING}nothing of the image lies on the grid of the result; check the transform and the reference"
FOR_LABELS, FOR_IMAGES = ("nearest", "vote"), ("linear", "nearest", "cubic", "lanczos")


def warp(
    image: Any,
    transform: TransformLike | Sequence[TransformLike],
    reference: Any = None,
    *,
    labels: bool | None = None,
    inverse: bool = False,
    interpolation: Interpolation | None = None,
    spacing: float | Sequence[float] | None = None,
) -> Volume:
    """What belongs to the moving image, in the fixed image's space, sampled once; `inverse`: the other way.

    image: as `as_volume` takes it.  transform: fixed point -> moving point, one or several in the order in which fixed
    points go through them.  reference: what gives the grid, as `output_grid` takes it; `spacing` (mm) changes it.
    labels: integers, nearest neighbour unless `interpolation` is "vote", the type is kept; None: an image of integers
    is looked at (`looks_like_labels`).  Images become float32, linear unless another `interpolation` is given.  Outside
    the image the result is its lowest value, 0 for labels.  The result's notes say what was assumed, and which labels
    were lost.  Raises InputError.

    >>> import deformgan
    >>> ct, mr = "data/sts/STS_051_CT.nii.gz", "data/sts/STS_051_MR_T1.nii.gz"
    >>> warped = deformgan.warp(mr, deformgan.Transform.identity(), ct)
    >>> warped.geometry == deformgan.read_volume(ct).geometry
    True
    >>> warped.notes[0].split(": ")[1]
    'of an integer type, taken as an image, from its values; --labels (labels=True) if it is not'
    """
    whole = chain(transform)
    moving, labels = take(image, labels, interpolation)
    pull, push = directions(whole, inverse)
    grid = output_grid(reference, moving.geometry, push, spacing=spacing)
    return pulled(moving, pull, grid, labels, interpolation)


def directions(transform: Transform, inverse: bool) -> tuple[Transform, Callable[[Any], Any]]:
    """(the map that pulls an image, the function that moves its points the same way, as `output_grid` takes it)."""
    return transform.inverse() if inverse else transform, lambda points: move(points, transform, inverse=inverse)


def take(
    image: Any, labels: bool | None, interpolation: Interpolation | None, volume: int | None = None
) -> tuple[Volume, bool]:
    """The volume to be warped and whether it holds labels; a note in the volume says what was assumed, and why."""
    if labels is None and interpolation not in (None, "nearest"):
        labels = interpolation == "vote"
    allowed = FOR_LABELS if labels else FOR_IMAGES
    if labels is not None and interpolation not in (None, *allowed):
        raise InputError(f"{'labels' if labels else 'images'} take {', '.join(allowed)}; got {interpolation!r}")
    if not isinstance(image, str | os.PathLike):
        return _given(as_volume(image), labels)
    contents = read_contents(image)
    if labels or (labels is None and contents.dtype.kind in "bui"):
        taken = _warned(read_volume(image, volume=volume, kind="labels"))
        if labels:
            return taken, True
        return _given(taken, True if contents.labels else None, str(image))
    taken = _warned(read_volume(image, volume=volume))
    if labels is None and looks_like_labels(taken.numpy()):
        note = f"{image}: whole numbers like labels, but of a type for images; give --labels (labels=True) if they are"
        taken = replace(taken, notes=(*taken.notes, note))
    return taken, False


def _warned(volume: Volume) -> Volume:
    return replace(volume, notes=tuple(f"{WARNING}{note}" for note in volume.notes))


def _given(volume: Volume, labels: bool | None, name: str = "the image") -> tuple[Volume, bool]:
    if labels is None and not volume.tensor.is_floating_point():
        labels = looks_like_labels(volume.numpy())
        what = "labels" if labels else "an image"
        other = "--no-labels (labels=False)" if labels else "--labels (labels=True)"
        note = f"{name}: of an integer type, taken as {what}, from its values; {other} if it is not"
        volume = replace(volume, notes=(*volume.notes, note))
    if labels and volume.tensor.is_floating_point():
        return replace(volume, tensor=volume.tensor.round().to(torch.int32)), True
    if not labels:
        volume = replace(volume, tensor=volume.tensor.to(torch.float32))
    return volume, bool(labels)


def pulled(
    moving: Volume, pull: Transform, grid: Any, labels: bool, interpolation: Interpolation | None = None
) -> Volume:
    """`moving` on `grid` through the map `pull`; for labels, a note says which were lost."""
    chosen: Interpolation = interpolation or ("nearest" if labels else "linear")
    outside = 0.0 if labels else float(moving.tensor.min())
    result = resample(moving, pull, grid, interpolation=chosen, outside=outside)
    if labels:
        sentence = lost_labels(moving.numpy(), result.numpy())
    else:
        sentence = EMPTY if bool((result.tensor == outside).all()) else ""
    return replace(result, notes=(*result.notes, sentence)) if sentence else result


def as_type(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """The values in another type; for an integer type rounded, and cut to its range."""
    wanted = np.dtype(dtype)
    if array.dtype == wanted:
        return array
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        array = np.rint(array.astype(np.float64)) if array.dtype.kind == "f" else array
        low, high = float(limits.min), np.nextafter(float(limits.max) + 1, 0)
        array = np.clip(array, low, high) if array.min() < low or array.max() > high else array
    return array.astype(wanted)
