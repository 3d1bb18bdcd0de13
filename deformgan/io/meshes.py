"""Meshes as files: legacy .vtk, .gii, .stl and .ply; the points are LPS mm inside, all else stays in the file.

GIFTI is RAS scanner mm by its standard.  The others cannot tell, but for Slicer's note SPACE=LPS or SPACE=RAS in the
title or a comment, which is honoured; without one they are LPS, as Slicer 5 writes and reads them, unless told.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError, OutputError
from deformgan.io import ply, vtk_polydata
from deformgan.io.volume import RAS_LPS
from deformgan.io.whole_file import whole_file

Points = NDArray[np.float64]

ENDINGS = (".vtk", ".gii", ".stl", ".ply")
_NOTE = re.compile(rb"SPACE=(LPS|RAS)")
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("colour", "<u2")])
_VERTEX = re.compile(rb"(vertex\s+)(\S+\s+\S+\s+\S+)")
_DROPPED = "the normals were dropped, since they no longer fit; viewers compute them anew"
_POINTSET, _VECTORS = 1008, 1007  # intents of GIFTI arrays


@dataclass(frozen=True, eq=False)
class Mesh:
    """`points` (N, 3) float64, LPS mm, of the file `path`, whose own numbers are in `space`; of an STL, the corners."""

    points: Points
    path: Path
    space: Literal["LPS", "RAS"]
    notes: tuple[str, ...] = ()


def read_mesh(path: str | os.PathLike[str], *, space: str | None = None) -> Mesh:
    """The points of a mesh.

    space: LPS or RAS, where the file does not say; refused where it contradicts the file.  Raises InputError.
    """
    source = Path(path)
    ending = _ending(source)
    if space is not None and space.upper() not in ("LPS", "RAS"):
        raise InputError(f"space must be LPS or RAS, got {space!r}")
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    try:
        data = source.read_bytes()
        own, notes = _own_space(data, ending)
        points = _points(data, ending, source)
    except (InputError, OSError) as error:
        raise InputError(f"{source}: {error}") from error
    except (ValueError, IndexError, OverflowError) as error:
        raise InputError(f"{source}: is damaged: {' '.join(str(error).split())[:160]}") from error
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"{source}: expected points of three coordinates each, found an array {points.shape}")
    if own is not None and space is not None and own != space.upper():
        raise InputError(f"{source}: the file says {own}, but {space.upper()} was asked for; leave --space out")
    if own is None and space is None:
        notes = (*notes, f"{source}: does not tell LPS from RAS; taken as LPS, as Slicer 5 does (--space RAS if not)")
    if not len(points) or not np.isfinite(points).all():
        raise InputError(f"{source}: has no points, or points that are not finite")
    used: Literal["LPS", "RAS"] = "RAS" if (own or (space or "LPS").upper()) == "RAS" else "LPS"
    return Mesh(_flipped(points, used), source, used, notes)


def write_mesh(mesh: Mesh, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Write the mesh's file with its present points, in the file's own space; notes on what could not be kept.

    Connectivity and all data are kept; normals are computed anew (.stl) or dropped.  Raises OutputError for another
    ending than that of the mesh's file.
    """
    target = Path(path)
    ending = _ending(mesh.path)
    if not target.name.lower().endswith(ending):
        raise OutputError(f"{target}: the mesh stays in its format; name it {target.with_suffix(ending).name}")
    points, data = _flipped(mesh.points, mesh.space), mesh.path.read_bytes()
    with whole_file(target) as scratch:
        if ending == ".gii":
            dropped = _write_gifti(points, mesh.path, scratch)
        else:
            change = {".vtk": vtk_polydata.with_points, ".ply": ply.with_points, ".stl": _stl_with_points}[ending]
            new, dropped = change(data, points)
            scratch.write_bytes(new)
    return (f"{mesh.path}: {_DROPPED}",) if dropped else ()


def _ending(path: Path) -> str:
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return ending
    raise InputError(f"{path}: a mesh is one of {', '.join(ENDINGS)}; convert it (in Slicer: save as .vtk)")


def _flipped(points: Points, space: str) -> Points:
    return points if space == "LPS" else points @ RAS_LPS[:3, :3]


def _own_space(data: bytes, ending: str) -> tuple[str | None, tuple[str, ...]]:
    """(the space that the file states, notes)."""
    if ending == ".gii":
        return "RAS", ()
    head = {".vtk": data[:600].split(b"\n", 2)[1:2], ".stl": [data[:80]], ".ply": data.split(b"end_header", 1)[:1]}
    match = _NOTE.search(b"".join(head[ending]))
    return (match[1].decode() if match else None), ()


def _points(data: bytes, ending: str, source: Path) -> Points:
    if ending == ".gii":
        return np.asarray(_pointset(_gifti(source)).data, np.float64)
    return {".vtk": vtk_polydata.read_points, ".ply": ply.read_points, ".stl": _stl_points}[ending](data)


def _gifti(path: Path) -> Any:
    import nibabel

    try:
        return nibabel.load(path)
    except Exception as error:  # its parser fails on damaged files in a dozen ways of its own
        raise InputError(f"cannot be read as GIFTI: {' '.join(str(error).split())[:160]}") from error


def _pointset(image: Any) -> Any:
    arrays = [array for array in getattr(image, "darrays", []) if array.intent == _POINTSET]
    if len(arrays) != 1 or arrays[0].data is None:
        raise InputError(f"expected one array of points, found {len(arrays)}; is it a surface?")
    return arrays[0]


def _write_gifti(points: Points, source: Path, scratch: Path) -> bool:
    image = _gifti(source)
    array = _pointset(image)
    array.data = np.ascontiguousarray(points, array.data.dtype)
    kept = [one for one in image.darrays if one.intent != _VECTORS]
    dropped = len(kept) < len(image.darrays)
    image.darrays[:] = kept
    image.to_filename(scratch)
    return dropped


def _is_binary_stl(data: bytes) -> bool:
    return len(data) >= 84 and len(data) == 84 + _FACET.itemsize * int(np.frombuffer(data[80:84], "<u4")[0])


def _stl_points(data: bytes) -> Points:
    if _is_binary_stl(data):
        return np.frombuffer(data[84:], _FACET)["corners"].reshape(-1, 3).astype(np.float64)
    words = [match[2].split() for match in _VERTEX.finditer(data)]
    if not data.lstrip().startswith(b"solid") or not words or len(words) % 3:
        raise InputError("is neither a text nor a binary STL file, or is cut off")
    return np.array(words, dtype=np.float64)


def _stl_with_points(data: bytes, points: Points) -> tuple[bytes, bool]:
    corners = points.reshape(-1, 3, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.where(length > 0, length, 1)
    if _is_binary_stl(data):
        facets = np.frombuffer(data[84:], _FACET).copy()
        facets["corners"], facets["normal"] = corners, normals
        return data[:84] + facets.tobytes(), False
    rows, sides = iter(points.tolist()), iter(normals.tolist())
    new = _VERTEX.sub(lambda match: match[1] + _text(next(rows)), data)
    return re.sub(rb"(facet normal\s+)(\S+\s+\S+\s+\S+)", lambda match: match[1] + _text(next(sides)), new), False


def _text(row: list[float]) -> bytes:
    return " ".join(f"{value:.9g}" for value in row).encode()
