"""The text headers of MetaImage and NRRD files, held against the files' size before ITK reads them.

ITK's readers of these two formats trust the header: a wrong number of dimensions ends the process, a damaged stream
passes for an image with a remark on the terminal, and a size of terabytes is allocated.
"""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from typing import BinaryIO

from deformgan.errors import InputError

WHOLE_FILE = "is the file whole, and what its name says?"  # the end of a message whose reason comes from a library
MOST_INFLATION = 1100  # deflate cannot shrink more than 1032 : 1
_MOST_TEXT = 1 << 20  # bytes of a header
_LONGEST = 200  # characters of a name or remark: ITK keeps them in fields of 255
_DIMENSIONS = range(1, 6)  # that ITK reads
_META_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_ASCII_CHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
_META_AXES = ("DimSize", "ElementSpacing", "ElementSize", "Offset", "Origin", "Position", "CenterOfRotation")
_META_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_META_TEXTS = ("ObjectType", "ObjectSubType", "Name", "Comment", "AnatomicalOrientation", "AcquisitionDate")
_NRRD_BYTES = {"char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "longlong": 8, "ulonglong": 8,
               "float": 4, "double": 8}  # fmt: skip
_NRRD_LIKE = {  # other words of the format for the same types
    "signed char": "char", "int8": "char", "int8_t": "char", "unsigned char": "uchar", "uint8": "uchar",
    "uint8_t": "uchar", "short int": "short", "signed short": "short", "signed short int": "short", "int16": "short",
    "int16_t": "short", "unsigned short": "ushort", "unsigned short int": "ushort", "uint16": "ushort",
    "uint16_t": "ushort", "signed int": "int", "int32": "int", "int32_t": "int", "unsigned int": "uint",
    "uint32": "uint", "uint32_t": "uint", "long long": "longlong", "long long int": "longlong",
    "signed long long": "longlong", "signed long long int": "longlong", "int64": "longlong", "int64_t": "longlong",
    "unsigned long long": "ulonglong", "unsigned long long int": "ulonglong", "uint64": "ulonglong",
    "uint64_t": "ulonglong",
}  # fmt: skip


def check_not_empty(path: Path) -> None:
    """Raise InputError for a file of no bytes."""
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes)")


def check_text_header(path: Path, *, unpack: bool = False) -> None:
    """Raise InputError where the header is not sound, or its files hold less than it promises.

    unpack: go through compressed voxels to see how many there are; else only what no compression can reach is refused.
    """
    check_not_empty(path)
    try:
        with open(path, "rb") as stream:
            magic = stream.read(8)
            stream.seek(0)
            if magic.startswith(b"NRRD"):
                _check_nrrd(path, stream, unpack)
            elif path.suffix.lower() in (".mha", ".mhd"):
                _check_meta(path, stream, unpack)
            else:
                raise InputError(f"{path}: cannot be read as an image: no NRRD file, which begins with 'NRRD'")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _check_meta(path: Path, stream: BinaryIO, unpack: bool) -> None:
    words = _meta_words(path, stream)
    if missing := [key for key in ("NDims", "DimSize", "ElementType", "ElementDataFile") if not words.get(key)]:
        raise InputError(f"{path}: cannot be read as an image: its header lacks {missing[0]}; is it a whole MetaImage?")
    dimension = _whole(path, words, "NDims")[0]
    if dimension not in _DIMENSIONS:
        raise InputError(f"{path}: its header says NDims = {dimension}; expected a 3-D image")
    for keys, count in ((_META_AXES, dimension), (_META_MATRICES, dimension**2)):
        for key in keys:
            if key in words and len(words[key].split()) != count:
                raise InputError(f"{path}: its header needs {count} numbers under {key}, it has {words[key][:60]!r}")
    if long := [key for key in _META_TEXTS if len(words.get(key, "")) > _LONGEST]:
        raise InputError(f"{path}: its header has over {_LONGEST} characters under {long[0]}; shorten it")
    kind, channels = words["ElementType"], _whole(path, words, "ElementNumberOfChannels", "1")[0]
    if kind not in _META_BYTES or channels < 1:
        raise InputError(f"{path}: its header says ElementType = {kind[:40]} with {channels} values; not a known type")
    size, skipped = _whole(path, words, "DimSize"), _whole(path, words, "HeaderSize", "0")[0]
    count = math.prod(size) * channels
    data = words["ElementDataFile"]
    if data.split()[0] == "LIST" or len(data.split()) > 3:
        raise InputError(f"{path}: its voxels are in several files ({data[:40]}); write it as one .mha")
    start = stream.tell() if data.upper() == "LOCAL" else 0
    place = path if data.upper() == "LOCAL" else path.parent / data
    start = start if skipped == 0 else max(skipped, 0)  # -1: the voxels are the file's end
    encoding = "raw" if _true(words, "BinaryData", "True") else "ascii"
    if _true(words, "CompressedData", "False"):
        encoding = "gzip" if unpack else "packed"
    _check_data(path, place, start, (size, count, count * _META_BYTES[kind]), encoding)


def _meta_words(path: Path, stream: BinaryIO) -> dict[str, str]:
    """Key -> value, up to ElementDataFile; the stream stands behind that line."""
    words: dict[str, str] = {}
    while "ElementDataFile" not in words:
        line = stream.readline(_MOST_TEXT)
        if not line or stream.tell() > _MOST_TEXT:
            break
        key, found, value = line.decode("latin-1").partition("=")
        key = key.strip()
        if not (found or key):
            continue
        if not found:
            raise InputError(f"{path}: cannot be read as an image: {key[:40]!r} is no line of a MetaImage's header")
        if key in words:
            raise InputError(f"{path}: its header says {key[:40]} twice")
        words[key] = value.strip()
    return words


def _whole(path: Path, words: dict[str, str], key: str, usual: str = "") -> list[int]:
    text = words.get(key, usual)
    if not re.fullmatch(r"\s*(?:[+-]?\d{1,18}\s*)+", text):
        raise InputError(f"{path}: its header needs whole numbers under {key}, it has {text[:60]!r}")
    return [int(word) for word in text.split()]


def _true(words: dict[str, str], key: str, usual: str) -> bool:
    return words.get(key, usual)[:1] in ("T", "t", "1")


def _check_nrrd(path: Path, stream: BinaryIO, unpack: bool) -> None:
    words: dict[str, str] = {}
    while (line := stream.readline(_MOST_TEXT)).strip() and stream.tell() <= _MOST_TEXT:
        key, found, value = line.decode("latin-1").partition(": ")
        if found:
            words[key.strip().lower()] = value.strip()
    if missing := [key for key in ("type", "dimension", "sizes", "encoding") if not words.get(key)]:
        raise InputError(f"{path}: cannot be read as an image: its header lacks {missing[0]}; is it a whole NRRD file?")
    size, kind = _whole(path, words, "sizes"), words["type"].lower()
    for key in ("space directions", "space origin"):
        if "nan" in words.get(key, "").lower():
            raise InputError(f"{path}: its {key} is not finite; repair the header's orientation")
    count = math.prod(size)
    need = count * _NRRD_BYTES.get(_NRRD_LIKE.get(kind, kind), 1)
    data = words.get("data file", words.get("datafile", ""))
    if data.startswith("LIST") or re.search(r"%\d*d", data):
        raise InputError(f"{path}: its voxels are in several files ({data[:40]}); write it as one .nrrd")
    lines = _whole(path, words, "line skip" if "line skip" in words else "lineskip", "0")[0]
    skipped = _whole(path, words, "byte skip" if "byte skip" in words else "byteskip", "0")[0]
    place, start = (path.parent / data, 0) if data else (path, stream.tell())
    encoding = {"gz": "gzip", "txt": "ascii", "text": "ascii"}.get(words["encoding"].lower(), words["encoding"].lower())
    if encoding == "gzip" and (not unpack or lines or skipped):  # ITK skips within what is unpacked
        encoding = "packed"
    _check_data(path, place, start + max(skipped, 0), (size, count, need), encoding)


def _check_data(path: Path, place: Path, start: int, promised: tuple[list[int], int, int], encoding: str) -> None:
    """promised: the size, the number of values, and their bytes."""
    size, count, need = promised
    if min(size) < 1:
        raise InputError(f"{path} has size {tuple(size)}: expected a 3-D image of at least two voxels along each axis")
    if not place.is_file():
        raise InputError(f"{path}: its voxels should be in {place.name}, which is not there; put it beside the header")
    have = max(0, place.stat().st_size - start)
    if encoding == "ascii":
        need, have = 2 * count - 1, _digits(place, start)
    if encoding == "hex":
        need *= 2
    if encoding == "gzip":
        have = _inflated_bytes(place, start, need)
    packed = encoding not in ("raw", "ascii", "hex", "gzip")
    if need > (have * MOST_INFLATION if packed else have):
        raise InputError(
            f"{path}: its header promises {need} bytes of voxels for size {tuple(size)}, the file has {have}; it is "
            "damaged or cut off"
        )


def _digits(place: Path, start: int) -> int:
    """Fewest characters of the numbers written as text, up to the first thing that is none."""
    with open(place, "rb") as stream:
        stream.seek(start)
        numbers = re.match(rb"[\d\s.eE+-]*", stream.read())
    return 2 * len(numbers[0].split()) - 1 if numbers else 0


def _inflated_bytes(place: Path, start: int, enough: int) -> int:
    """Bytes that a zlib or gzip stream holds; it is read until it ends, breaks or has enough."""
    unpack, held = zlib.decompressobj(wbits=47), 0
    with open(place, "rb") as stream:
        stream.seek(start)
        while held < enough and not unpack.eof and (block := stream.read(1 << 16)):
            try:
                held += len(unpack.decompress(block))
            except zlib.error:
                break
    return held
