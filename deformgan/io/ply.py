"""The vertices of a .ply file, replaced with all else kept: faces, colours, other properties and comments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError

_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
_ORDER = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_NORMALS = ("nx", "ny", "nz")


@dataclass(frozen=True)
class _Header:
    lines: list[str]
    form: str
    start: int
    count: int
    columns: list[tuple[str, str]]


def read_points(data: bytes) -> NDArray[np.float64]:
    """(N, 3) in the file's own space.  Raises InputError."""
    header = _header(data)
    rows, _ = _rows(data, header)
    return np.stack([rows[axis].astype(np.float64) for axis in "xyz"], -1)


def with_points(data: bytes, points: NDArray[np.float64]) -> tuple[bytes, bool]:
    """(the file with other vertices and without their normals, whether it had normals)."""
    header = _header(data)
    rows, end = _rows(data, header)
    kept = [(name, kind) for name, kind in header.columns if name not in _NORMALS]
    new = np.empty(len(rows), kept)
    for name, _ in kept:
        new[name] = points[:, "xyz".index(name)] if name in ("x", "y", "z") else rows[name]
    text = "\n".join(line for line in header.lines if line.split()[:1] != ["property"] or not _is_normal(line)) + "\n"
    if header.form == "ascii":
        body = "".join(" ".join(_shown(value) for value in row) + "\n" for row in new.tolist()).encode()
    else:
        body = new.tobytes()
    return text.encode("latin-1") + body + data[end:], len(kept) < len(header.columns)


def _is_normal(line: str) -> bool:
    return line.split()[-1] in _NORMALS


def _shown(value: float) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _header(data: bytes) -> _Header:
    stop = data.find(b"end_header")
    if not data.startswith(b"ply") or stop < 0:
        raise InputError("expected a PLY file, which begins with 'ply' and has a line 'end_header'")
    stop = data.index(b"\n", stop) + 1
    lines = data[:stop].decode("latin-1").splitlines()
    form = next((line.split()[1] for line in lines if line.startswith("format ")), "")
    elements = [line.split() for line in lines if line.startswith("element ")]
    if form not in _ORDER or not elements or elements[0][1] != "vertex":
        raise InputError("expected a format of ascii or binary, and vertices as the first element")
    first = next(n for n, line in enumerate(lines) if line.startswith("element "))
    columns = []
    for line in lines[first + 1 :]:
        words = line.split()
        if words[:1] in (["element"], ["end_header"]):
            break
        if words[:1] == ["property"]:
            if len(words) != 3 or words[1] not in _TYPES:
                raise InputError(f"vertices with {line!r} cannot be read")
            columns.append((words[2], _ORDER[form] + _TYPES[words[1]]))
    if not {"x", "y", "z"} <= {name for name, _ in columns}:
        raise InputError("its vertices have no x, y, z")
    return _Header(lines, form, stop, int(elements[0][2]), columns)


def _rows(data: bytes, header: _Header) -> tuple[NDArray[np.void], int]:
    """(the vertices as a structured array, where the bytes after them begin)."""
    kind = np.dtype(header.columns)
    if header.form != "ascii":
        end = header.start + header.count * kind.itemsize
        if end > len(data):
            raise InputError(f"ends amid its {header.count} vertices; it is damaged or cut off")
        return np.frombuffer(data[header.start : end], kind), end
    end, lines = header.start, list[tuple[float, ...]]()
    while len(lines) < header.count:
        stop = data.find(b"\n", end)
        if stop < 0 and end >= len(data):
            raise InputError(f"ends amid its {header.count} vertices; it is damaged or cut off")
        stop = len(data) if stop < 0 else stop
        lines.append(tuple(float(word) for word in data[end:stop].split()))
        end = stop + 1
    if any(len(line) != len(header.columns) for line in lines):
        raise InputError(f"expected {len(header.columns)} numbers a vertex")
    return np.array(lines, kind), end
