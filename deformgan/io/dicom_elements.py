"""The data elements of a DICOM file, held against the file's size before GDCM reads it and allocates what they promise.

Source: DICOM PS3.5, 7.1 (data elements), and PS3.10, 7.1 (the file's own group).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from deformgan.errors import InputError

_START = 132  # of the elements, behind the preamble and DICM
_META, _SYNTAX = 2, (2, 0x10)
_LITTLE = "1.2.840.10008.1.2"  # implicit, and explicit with .1; others are not followed into the data set
_UNDEFINED = 0xFFFFFFFF
_SHORT = {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
          b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}  # fmt: skip
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}


def check_elements(path: Path) -> None:
    """Raise InputError where an element is longer than the file.

    Followed as far as lengths are stated: not into sequences and compressed pixels without one, nor past an element of
    an unknown kind.
    """
    size, place, explicit, syntax = path.stat().st_size, _START, True, ""
    with open(path, "rb") as stream:
        while place + 8 <= size:
            stream.seek(place)
            group, element, start, length = _element(stream, explicit)
            if length == _UNDEFINED or (length < 0 and group != _META):
                return
            stop = place + start + length
            if length < 0 or stop > size:
                raise InputError(f"{path}: ends amid the element ({group:04x},{element:04x}); it is damaged or cut off")
            if (group, element) == _SYNTAX:
                stream.seek(place + start)
                syntax = stream.read(length).rstrip(b"\0 ").decode("latin-1")
            place = stop
            stream.seek(place)
            if group == _META and stream.read(2) not in (b"\x02\x00", b""):  # the data set begins
                if syntax not in (_LITTLE, f"{_LITTLE}.1"):
                    return
                explicit = syntax != _LITTLE


def _element(stream: BinaryIO, explicit: bool) -> tuple[int, int, int, int]:
    """(group, element, where its value begins, length of it); length -1 for a kind that is none."""
    head = stream.read(12).ljust(12, b"\0")
    group, element = struct.unpack("<HH", head[:4])
    if not explicit:
        return group, element, 8, struct.unpack("<I", head[4:8])[0]
    if head[4:6] in _SHORT:
        return group, element, 8, struct.unpack("<H", head[6:8])[0]
    return group, element, 12, struct.unpack("<I", head[8:12])[0] if head[4:6] in _LONG else -1
