"""What warping a file would do: everything read and checked as `warping.files` does, and nothing moved or written."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from deformgan.cost import Plan, of_warp
from deformgan.io.components import read_components
from deformgan.io.geometry import Geometry
from deformgan.io.grids import grid_and_notes
from deformgan.io.headers import read_contents
from deformgan.io.meshes import read_mesh
from deformgan.io.points import read_landmarks
from deformgan.io.series import open_series
from deformgan.spatial.transform import Transform
from deformgan.warping.files import ImageOptions, check_room
from deformgan.warping.grids import output_grid
from deformgan.warping.image import WARNING, directions, take


def plan_image_file(
    image: str, transform: Transform, out: Path, options: ImageOptions, *, inverse: bool = False
) -> Plan:
    """Of `warp_image_file`, which takes the same; raises what that would raise for the input."""
    notes: list[str] = []
    if options.reference is not None:
        reference, notes = grid_and_notes(options.reference)
        options = replace(options, reference=reference)
    contents = read_contents(image)
    count, how = 1, options.interpolation or "linear"
    if contents.kind == "series" and options.volume is None:
        series = open_series(image)
        geometry, count, what = series.geometry, contents.volumes, f"a series of {contents.volumes} volumes"
        notes += series.notes
    elif contents.kind in ("vectors", "tensors"):
        values, geometry, remarks = read_components(image)
        count, what = len(values), f"{contents.kind}, {options.reorient}"
        notes += remarks
    else:
        moving, labels = take(image, options.labels, options.interpolation, options.volume)
        geometry, what = moving.geometry, "labels" if labels else "an image"
        how = options.interpolation or ("nearest" if labels else "linear")
        notes += [note.removeprefix(WARNING) for note in moving.notes]
    pull, push = directions(transform, inverse)
    grid = output_grid(options.reference, geometry, push, spacing=options.spacing, size=options.size)
    check_room(out, grid, options, count)
    steps = (
        f"read {image}: {what}, {_size(geometry)}",
        f"bring it by {len(pull.parts)} part(s) of a transform{' (the inverse)' if inverse else ''}, {how}",
        f"onto a grid of {_size(grid)}",
    )
    cost = of_warp(math.prod(geometry.size), math.prod(grid.size), how, count, series=contents.kind == "series")
    return Plan(steps, cost, tuple(notes))


def plan_points_file(points: str, *, space: str | None, inverse: bool) -> Plan:
    """Of `warp_points_file`."""
    count = len(read_landmarks(points, space=space).points)
    return Plan((f"read {points}: {count} points", f"move them{' by the inverse' if inverse else ''}"), of_warp(0, 0))


def plan_mesh_file(mesh: str, *, space: str | None, inverse: bool) -> Plan:
    """Of `warp_mesh_file`."""
    before = read_mesh(mesh, space=space)
    steps = f"read {mesh}: {len(before.points)} points", f"move them{' by the inverse' if inverse else ''}"
    return Plan(steps, of_warp(0, 0), tuple(before.notes))


def _size(grid: Geometry) -> str:
    return f"{' x '.join(map(str, grid.size))} voxels"
