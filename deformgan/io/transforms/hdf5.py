"""HDF5 files held against their size before the library believes them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deformgan.errors import InputError
from deformgan.io.text_headers import MOST_INFLATION

NOT_READ = "cannot read a transform from"
_HEAP, _ENTRY = b"GCOL\x01\0\0\0", struct.Struct("<HHIQ")  # of texts; an entry's number, uses, nothing, bytes
_BLOCK = 1 << 24


@contextmanager
def hdf5_file(path: Path) -> Iterator[Any]:
    """An HDF5 file, open; what the library raises on a damaged one while it is read becomes an InputError.

    Raises InputError, too, for data kept in other files, or of a size that this one cannot hold.
    """
    import h5py

    _check_heaps(path)
    faults = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError, OverflowError)
    try:
        with h5py.File(path, "r") as file:
            _check_entries(file, path)
            yield file
    except faults as error:
        raise InputError(
            f"{NOT_READ} {path} ({path.stat().st_size} bytes): {' '.join(str(error).split())[:120]}"
        ) from error


def _check_entries(file: Any, path: Path) -> None:
    import h5py

    most, groups, known = MOST_INFLATION * path.stat().st_size, [file], set[int]()
    while groups:  # no `visititems`: an error in its callback ends in a SystemError
        group = groups.pop()
        for name in group:
            entry = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
            dataset = isinstance(entry, h5py.Dataset)
            if entry is None or (dataset and (entry.external or entry.is_virtual)):
                raise InputError(f"keeps {name} in another place; write it whole")
            if dataset and entry.nbytes > most:
                raise InputError(f"promises {entry.nbytes} bytes in {name}; it is damaged or cut off")
            if isinstance(entry, h5py.Group) and (address := h5py.h5o.get_info(entry.id).addr) not in known:
                known.add(address)
                groups.append(entry)


def _check_heaps(path: Path) -> None:
    """Walk the heaps of texts: over an entry of no length the library would step for ever.

    Source: HDF5 File Format Specification 3.0, III.E (global heap).
    """
    with open(path, "rb") as stream:
        before, start = b"", 0
        while block := stream.read(_BLOCK):
            text = before + block
            place = text.find(_HEAP)
            while place >= 0:
                if not _whole_heap(path, start - len(before) + place):
                    raise InputError(f"{NOT_READ} {path}: a heap of its texts does not fit; it is damaged")
                place = text.find(_HEAP, place + 1)
            start, before = start + len(block), text[1 - len(_HEAP) :]


def _whole_heap(path: Path, start: int) -> bool:
    with open(path, "rb") as stream:
        stream.seek(start + len(_HEAP))
        length = int.from_bytes(stream.read(8), "little")
        place, end = start + 16, min(start + length, path.stat().st_size)
        while place + _ENTRY.size <= end:
            stream.seek(place)
            number, _, _, size = _ENTRY.unpack(stream.read(_ENTRY.size))
            if number == 0:  # the room that is left, its own head included
                return bool(size >= _ENTRY.size)
            place += _ENTRY.size + (size + 7) // 8 * 8
    return bool(place <= end)
