"""ITK's transform files as they are stored: HDF5, text and MATLAB hold records of a kind and two lists of numbers.

Read here and not by ITK, which believes what a file says: numbers that do not fit their kind end the process there.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.transforms.hdf5 import hdf5_file

HDF5_ENDINGS = (".h5", ".hdf5")
_KIND = re.compile(r"(\w+?)_(?:double|float)_(\d+)_(\d+)(?:_(\d))?")
_TITLE = "#Insight Transform File"
_NAMES = (("TransformParameters", "TranformParameters"), ("TransformFixedParameters", "TranformFixedParameters"))


class Record(NamedTuple):
    """kind: ITK's name of the class, such as AffineTransform.  Both lists are finite.  order: of a B-spline."""

    kind: str
    parameters: NDArray[np.floating]
    fixed: NDArray[np.floating]
    order: int = 3


def read_records(path: Path) -> list[Record]:
    """The transforms of a file in the order of application.  Raises InputError, OSError or RuntimeError."""
    ending = path.suffix.lower()
    read = _of_hdf5 if ending in HDF5_ENDINGS else _of_matlab if ending == ".mat" and not _is_text(path) else _of_text
    found = read(path)
    kinds = [record.kind for record in found]
    if not kinds or "CompositeTransform" in kinds[1:] or (len(kinds) > 1 and kinds[0] != "CompositeTransform"):
        raise InputError(f"holds {len(kinds)} transforms and not one composite that gives their order")
    return found if kinds[0] != "CompositeTransform" else found[:0:-1]  # ITK applies the one added last first


def _of_hdf5(path: Path) -> list[Record]:
    import h5py

    with hdf5_file(path) as file:
        groups = file.get("TransformGroup")
        if not isinstance(groups, h5py.Group):
            raise InputError("an HDF5 file without a transform; expected one that ITK or deformgan wrote")
        return [_of_group(groups.get(str(n))) for n in range(len(groups))]


def _of_group(group: Any) -> Record:
    import h5py

    kind = group.get("TransformType") if isinstance(group, h5py.Group) else None
    if not isinstance(kind, h5py.Dataset) or not h5py.check_string_dtype(kind.dtype) or kind.size != 1:
        raise InputError("the transforms in this HDF5 file are not as ITK writes them; it is damaged")
    text = np.ravel(kind[()])[0]
    lists = [next((group[name] for name in names if name in group), ()) for names in _NAMES]
    if any(
        isinstance(values, h5py.Group) or getattr(values, "dtype", np.dtype("f8")).kind not in "fiu" for values in lists
    ):
        raise InputError("the transforms in this HDF5 file are not as ITK writes them; it is damaged")
    return _record(text.decode("latin-1") if isinstance(text, bytes) else str(text), *(np.ravel(v) for v in lists))


def _is_text(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(len(_TITLE)) == _TITLE.encode()


def _of_text(path: Path) -> list[Record]:
    if not _is_text(path):
        raise InputError(f"cannot be read as a transform: expected a text that begins with {_TITLE!r}")
    found: list[dict[str, str]] = []
    for line in path.read_text(encoding="latin-1").splitlines():
        key, colon, value = line.partition(":")
        if line.startswith("#") or not colon:
            continue
        if key.strip() == "Transform":
            found.append({})
        if found:
            found[-1][key.strip()] = value.strip()
    try:
        return [
            _record(
                one["Transform"],
                *(np.array(one.get(key, "").split(), float) for key in ("Parameters", "FixedParameters")),
            )
            for one in found
        ]
    except ValueError as error:
        raise InputError("its parameters are not numbers; it is damaged") from error


def _of_matlab(path: Path) -> list[Record]:
    """MATLAB's level 4: variables one after the other, the parameters under the kind, the other list under `fixed`."""
    data, place, found = path.read_bytes(), 0, list[tuple[str, NDArray[np.float64]]]()
    while place < len(data):
        order = next((o for o in "<>" if 0 <= _header(data, place, o)[0] < 5000), None)
        what, rows, columns, imaginary, length = _header(data, place, order or "<")
        width = {0: 8, 10: 4}.get(what % 1000, 0)
        start = place + 20 + length
        stop = start + rows * columns * width
        if (
            order is None
            or not width
            or imaginary
            or min(rows, columns) < 0
            or not 0 < length < 256
            or stop > len(data)
        ):
            raise InputError(
                "expected a MATLAB file of level 4, as ITK and ANTs write; it is damaged or of another kind"
            )
        name = data[place + 20 : start].split(b"\0")[0].decode("latin-1")
        found.append((name, np.frombuffer(data[start:stop], f"{order}f{width}").astype(np.float64)))
        place = stop
    pairs = list(zip(found[::2], found[1::2], strict=False))
    if len(found) % 2 or any(second != "fixed" for _, (second, _) in pairs):
        raise InputError("its variables are not those of a transform; it is damaged or of another kind")
    return [_record(name, parameters, fixed) for (name, parameters), (_, fixed) in pairs]


def _header(data: bytes, place: int, order: str) -> tuple[int, int, int, int, int]:
    if place + 20 > len(data):
        raise InputError("ends amid a variable; it is damaged or cut off")
    what, rows, columns, imaginary, length = struct.unpack_from(f"{order}5i", data, place)
    return what, rows, columns, imaginary, length


def _record(text: str, parameters: NDArray[Any], fixed: NDArray[Any]) -> Record:
    match = _KIND.fullmatch(text.strip().rstrip("\0"))
    if match is None:
        raise InputError(f"{text[:60]!r} is not the name of a transform; the file is damaged")
    if (match[2], match[3]) != ("3", "3"):
        raise InputError(f"the transform is {match[2]}-D; expected 3-D")
    values = [v if v.dtype.kind == "f" else v.astype(np.float64) for v in (parameters, fixed)]
    if not all(np.isfinite(v).all() for v in values):
        raise InputError(f"its {match[1]} has parameters that are not finite; it is damaged")
    return Record(match[1], values[0], values[1], int(match[4] or 3))
