"""Warp a file into a file, whatever it holds: an image, labels, a series, vectors, tensors, points or a mesh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deformgan.errors import InputError, OutputError
from deformgan.io.components import read_components, write_components
from deformgan.io.formats import write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.grids import grid_and_notes
from deformgan.io.headers import Contents, read_contents
from deformgan.io.meshes import read_mesh, write_mesh
from deformgan.io.points import read_landmarks, write_landmarks
from deformgan.io.series import open_series, writing_series
from deformgan.io.workplace import check_space
from deformgan.spatial.resample import INTERPOLATIONS, Interpolation
from deformgan.spatial.transform import DisplacementField, Transform
from deformgan.warping.grids import output_grid
from deformgan.warping.image import FOR_IMAGES, FOR_LABELS, WARNING, as_type, directions, pulled, take
from deformgan.warping.labels import looks_like_labels
from deformgan.warping.points import failures, move
from deformgan.warping.vectors import FRAMES, REORIENT, Components, Frame, Reorient, warp_components

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class ImageOptions:
    """How an image is warped; None is what the image itself suggests.  Raises InputError for an unknown choice.

    spacing (mm) and size (voxels) are x, y, z; volume: which of a series, all of them if None.
    """

    reference: str | Geometry | None = None
    spacing: Sequence[float] | None = None
    size: Sequence[int] | None = None
    labels: bool | None = None
    interpolation: Interpolation | None = None
    volume: int | None = None
    reorient: Reorient = "rotation"
    frame: Frame = "lps"
    dtype: str | None = None

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("reorient", self.reorient, REORIENT),
            ("vector frame", self.frame, FRAMES),
            ("dtype", self.dtype, DTYPES),
        ):
            if value is not None and value not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def warp_image_file(
    image: str, transform: Transform, out: Path, options: ImageOptions, *, inverse: bool = False
) -> list[str]:
    """Write the warped image to `out`; the notes to be shown, of which warnings begin with that word.

    Raises InputError, OutputError.
    """
    repairs: list[str] = []
    if options.reference is not None:
        reference, repairs = grid_and_notes(options.reference)
        options = replace(options, reference=reference)
    notes = _warp_image(image, transform, out, options, inverse)
    return [*(f"{WARNING}{repair}" for repair in repairs), *notes]


def _warp_image(image: str, transform: Transform, out: Path, options: ImageOptions, inverse: bool) -> list[str]:
    contents = read_contents(image)
    pull, push = directions(transform, inverse)
    if contents.kind == "series" and options.volume is None:
        series = open_series(image)
        grid = output_grid(options.reference, series.geometry, push, spacing=options.spacing, size=options.size)
        _check_room(out, grid, options, contents.volumes)
        return _warp_series(image, pull, out, options, contents, grid)
    if contents.kind in ("vectors", "tensors"):
        values, geometry, remarks = read_components(image)
        grid = output_grid(options.reference, geometry, push, spacing=options.spacing, size=options.size)
        _check_room(out, grid, options, len(values))
        warnings = [f"{WARNING}{remark}" for remark in remarks]
        return [*warnings, *_warp_components(Components(values, geometry), image, pull, out, options, grid)]
    moving, labels = take(image, options.labels, options.interpolation, options.volume)
    grid = output_grid(options.reference, moving.geometry, push, spacing=options.spacing, size=options.size)
    _check_room(out, grid, options)
    warped = pulled(moving, pull, grid, labels, options.interpolation)
    dtype = np.dtype(options.dtype) if options.dtype else _kept(contents, warped.numpy()) if labels else None
    if dtype is not None and dtype.name not in DTYPES:
        raise OutputError(f"{out}: labels of {dtype} cannot be written; choose a type with --dtype")
    array = warped.numpy() if dtype is None else as_type(warped.numpy(), dtype)
    import torch

    write_volume(replace(warped, tensor=torch.from_numpy(array)), out)
    return list(warped.notes)


def _check_room(out: Path, grid: Geometry, options: ImageOptions, count: int = 1) -> None:
    """Raise OutputError where the disk has no room for `count` volumes, not packed."""
    check_space(out, math.prod(grid.size) * count * np.dtype(options.dtype or np.float32).itemsize)


def warp_points_file(
    points: str, transform: Transform, out: Path, *, space: str | None = None, inverse: bool = False
) -> list[str]:
    """Write the landmarks moved, and in the same format the rest of the file kept.  Raises InputError, OutputError."""
    landmarks = read_landmarks(points, space=space)
    moved, error_mm = move(landmarks.points, transform, inverse=inverse)
    write_landmarks(replace(landmarks, points=moved), out, space=space, template=points)
    return [sentence] if (sentence := failures(error_mm, landmarks.names)) else []


def warp_mesh_file(
    mesh: str, transform: Transform, out: Path, *, space: str | None = None, inverse: bool = False
) -> list[str]:
    """Write the mesh with its points moved and all else kept.  Raises InputError, OutputError."""
    before = read_mesh(mesh, space=space)
    moved, error_mm = move(before.points, transform, inverse=inverse)
    notes = write_mesh(replace(before, points=moved), out)
    return [*before.notes, *notes, *([sentence] if (sentence := failures(error_mm)) else [])]


def _kept(contents: Contents, array: np.ndarray) -> np.dtype:
    """The stored type of labels; 32 bits for whole numbers kept as 64 or as fractions, where they hold the values."""
    if contents.dtype.kind in "iu" and contents.dtype.itemsize < 8:
        return contents.dtype
    if contents.dtype.kind == "b":
        return np.dtype(np.uint8)
    limits = np.iinfo(np.int32)
    return np.dtype(np.int32) if limits.min <= array.min() and array.max() <= limits.max else array.dtype


def _warp_series(
    image: str, pull: Transform, out: Path, options: ImageOptions, contents: Contents, grid: Geometry
) -> list[str]:
    """Volume by volume, from the file and to the file."""
    import torch

    from deformgan.io.volume import Volume

    series, notes = open_series(image), [f"{image}: a series of {contents.volumes} volumes, each of them warped"]
    labels = options.labels if options.labels is not None else contents.labels
    if options.labels is None and contents.dtype.kind in "bui" and options.interpolation in (None, *FOR_LABELS):
        labels = contents.labels or options.interpolation == "vote" or looks_like_labels(next(series.volumes()))
        notes.append(f"{image}: of an integer type, taken as {'labels' if labels else 'images'}, from its first volume")
    allowed = FOR_LABELS if labels else FOR_IMAGES
    if options.interpolation not in (None, *allowed):
        raise InputError(f"{'labels' if labels else 'images'} take {', '.join(allowed)}; got {options.interpolation!r}")
    whole = np.dtype({"b": "u1", "f": "i4"}.get(contents.dtype.kind, contents.dtype.str))
    dtype = np.dtype(options.dtype or (whole if labels else np.float32))
    if sum(isinstance(part, DisplacementField) for part in pull.parts) > 1:
        pull = Transform((DisplacementField(grid, pull.displacement_on(grid)),))  # once, not for every volume
    repaired = 0
    with writing_series(out, series, grid, dtype) as append:
        for stored in series.volumes():
            stored = np.rint(stored) if labels and stored.dtype.kind == "f" else stored
            values = np.array(stored, _torch_type(whole) if labels else np.float32)
            if not labels and not (finite := np.isfinite(values)).all():
                values[~finite] = values[finite].min() if finite.any() else 0
                repaired += 1
            moving = Volume(torch.from_numpy(values), series.geometry)
            warped = pulled(moving, pull, grid, labels, options.interpolation)
            append(as_type(warped.numpy(), dtype))
            notes += [note for note in warped.notes if note not in notes]
    if repaired:
        notes.append(
            f"{WARNING}{image}: {repaired} volumes had values that were not finite; they count as the volume's lowest"
        )
    return [*(f"{WARNING}{note}" for note in series.notes), *notes]


def _torch_type(dtype: np.dtype) -> np.dtype:
    """An integer type that torch computes with and that holds the stored values."""
    return np.dtype({"u2": "i4", "u4": "i8", "u8": "i8"}.get(dtype.str[1:], dtype.str[1:]))


def _warp_components(
    moving: Components, image: str, pull: Transform, out: Path, options: ImageOptions, grid: Geometry
) -> list[str]:
    if options.labels or options.interpolation not in (None, *FOR_IMAGES):
        raise InputError(f"{image} holds vectors or tensors; leave --labels out, and take {', '.join(FOR_IMAGES)}")
    warped, notes = warp_components(
        moving,
        pull,
        grid,
        reorient=options.reorient,
        frame=options.frame,
        interpolation=options.interpolation or "linear",
    )
    write_components(as_type(warped.values, options.dtype or np.float32), grid, out, options.dtype or np.float32)
    what = "vectors" if len(moving.values) == 3 else "symmetric tensors"
    turned = "not turned" if options.reorient == "none" else f"turned by the map ({options.reorient})"
    return [f"{image}: {what}, components along {options.frame}, {turned}", *notes]
