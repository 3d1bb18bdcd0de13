"""Where the points and the normals lie in a legacy .vtk file, so that both can be replaced and all else kept.

Written by hand since the readers among our dependencies drop arrays, cell data or the title line of what they read.
Walks through every section of versions 1 to 5.1, text or binary (big-endian).  Source: VTK's file formats document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError

_BYTES = {
    "bit": 0,
    "unsigned_char": 1,
    "char": 1,
    "unsigned_short": 2,
    "short": 2,
    "unsigned_int": 4,
    "int": 4,
    "unsigned_long": 8,
    "long": 8,
    "vtkidtype": 4,
    "vtktypeint64": 8,
    "vtktypeuint64": 8,
    "float": 4,
    "double": 8,
}
_CELLS = ("VERTICES", "LINES", "POLYGONS", "TRIANGLE_STRIPS")
_PER_TUPLE = {"VECTORS": 3, "NORMALS": 3, "TENSORS": 9, "TENSORS6": 6, "GLOBAL_IDS": 1, "PEDIGREE_IDS": 1}
_TYPES = {"float": ">f4", "double": ">f8"}


@dataclass(frozen=True)
class Layout:
    """Byte ranges in a file: of the points' values, and of each section of normals; `kind` is float or double."""

    points: tuple[int, int]
    count: int
    kind: str
    binary: bool
    normals: tuple[tuple[int, int], ...]


class _Walker:
    """A position in the bytes of a file, moved on line by line and block by block."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.binary, self.version = data, 0, False, 1.0

    def line(self) -> str:
        """The next line, without its end."""
        if self.at >= len(self.data):
            raise InputError("the file ends too early; it is damaged or cut off")
        end = self.data.find(b"\n", self.at)
        end = len(self.data) if end < 0 else end
        text, self.at = self.data[self.at : end].decode("latin-1"), end + 1
        return text.rstrip("\r")

    def words(self) -> list[str]:
        """The words of the next line that has any; none at the end of the file."""
        while self.at < len(self.data):
            if words := self.line().split():
                return words
        return []

    def skip(self, count: int, kind: str) -> tuple[int, int]:
        """Pass over `count` values; the byte range they fill."""
        kind, start = kind.lower(), self.at
        if kind not in _BYTES:
            raise InputError(f"an array of type {kind} cannot be read; remove it")
        if self.binary:
            self.at += (count + 7) // 8 if kind == "bit" else count * _BYTES[kind]
            if self.at > len(self.data):
                raise InputError("the file ends too early; it is damaged or cut off")
            return start, self.at
        while count > 0:
            count -= len(self.line().split())
        return start, self.at


def layout(data: bytes) -> Layout:
    """Find the points and normals of a legacy POLYDATA file.  Raises InputError for any other."""
    walk = _Walker(data)
    match = re.match(r"# vtk DataFile Version ([\d.]+)", walk.line())
    if match is None:
        raise InputError("expected a legacy VTK file, which begins with '# vtk DataFile Version'")
    walk.version = float(match[1])
    walk.line()
    walk.binary = walk.line().strip().upper() == "BINARY"
    dataset = walk.words()
    if [word.upper() for word in dataset] != ["DATASET", "POLYDATA"]:
        raise InputError(f"expected DATASET POLYDATA, found {' '.join(dataset) or 'nothing'}")
    points, normals, tuples = None, [], 0
    while True:
        begin = walk.at
        if not (words := walk.words()):
            break
        key = words[0].upper()
        try:
            if key == "POINTS":
                points = (int(words[1]), words[2].lower(), walk.skip(3 * int(words[1]), words[2]))
            elif key in ("POINT_DATA", "CELL_DATA"):
                tuples = int(words[1])
            else:
                _pass(walk, key, words, tuples)
        except (ValueError, IndexError) as error:
            raise InputError(f"cannot make out the line {' '.join(words)!r}; the file is damaged") from error
        if key == "NORMALS":
            normals.append((begin, walk.at))
    if points is None or points[1] not in _TYPES:
        raise InputError("has no points of type float or double")
    return Layout(points[2], points[0], points[1], walk.binary, tuple(normals))


def _pass(walk: _Walker, key: str, words: list[str], tuples: int) -> None:
    """Pass over the section that `words` begin."""
    if key in _CELLS and walk.version >= 5:
        for count in map(int, words[1:3]):
            walk.skip(count, walk.words()[1])
    elif key in _CELLS:
        walk.skip(int(words[2]), "int")
    elif key == "FIELD":
        for _ in range(int(words[2])):
            name = walk.words()
            if name and name[0].upper() == "METADATA":
                _pass(walk, "METADATA", name, tuples)
                name = walk.words()
            walk.skip(int(name[1]) * int(name[2]), name[3])
    elif key == "SCALARS":
        begin = walk.at
        if walk.words()[:1] != ["LOOKUP_TABLE"]:
            walk.at = begin
        walk.skip(tuples * int(words[3] if len(words) > 3 else 1), words[2])
    elif key == "COLOR_SCALARS":
        walk.skip(tuples * int(words[2]), "unsigned_char")
    elif key == "LOOKUP_TABLE":
        walk.skip(4 * int(words[2]), "unsigned_char")
    elif key == "TEXTURE_COORDINATES":
        walk.skip(tuples * int(words[2]), words[3])
    elif key in _PER_TUPLE:
        walk.skip(tuples * _PER_TUPLE[key], words[2])
    elif key == "METADATA":
        while walk.at < len(walk.data) and walk.line().strip():
            pass
    else:
        raise ValueError(key)


def read_points(data: bytes) -> NDArray[np.float64]:
    """(N, 3) in the file's own space."""
    found = layout(data)
    block = data[slice(*found.points)]
    if found.binary:
        values = np.frombuffer(block, _TYPES[found.kind]).astype(np.float64)
    else:
        values = np.array(block.split(), dtype=np.float64)
    if values.size != 3 * found.count:
        raise InputError(f"expected {3 * found.count} coordinates, found {values.size}")
    return values.reshape(-1, 3)


def with_points(data: bytes, points: NDArray[np.float64]) -> tuple[bytes, bool]:
    """(the file with other points and without normals, whether it had normals)."""
    found = layout(data)
    if found.binary:
        block = points.astype(_TYPES[found.kind]).tobytes()
    else:
        digits = 9 if found.kind == "float" else 17
        block = "".join(" ".join(f"{v:.{digits}g}" for v in row) + "\n" for row in points.tolist()).encode()
    edits = sorted([(*found.points, block), *((start, stop, b"\n") for start, stop in found.normals)])
    pieces, at = [], 0
    for start, stop, new in edits:
        pieces += [data[at:start], new]
        at = stop
    return b"".join([*pieces, data[at:]]), bool(found.normals)
