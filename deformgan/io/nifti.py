"""NIfTI and FreeSurfer MGH files, read by nibabel after the header was held against the file's size."""

from __future__ import annotations

import logging
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deformgan.errors import InputError
from deformgan.io.text_headers import MOST_INFLATION, WHOLE_FILE, check_not_empty
from deformgan.io.volume import RAS_LPS

FEWEST_LEVELS = 256  # that an intercept must leave of the values' range
NIFTI_ENDINGS = (".nii", ".nii.gz", ".mgz", ".mgh")  # those that nibabel reads here


def read_nifti(path: Path, volume: int | None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(array (X, Y, Z), matrix index -> LPS mm (4, 4), notes).  Raises InputError."""
    with readable(path) as remarks:
        image = open_nifti(path)
        array, notes = _values(image, volume, path)
        matrix, more = orientation(image, path)
    return array, matrix, [*remarks, *notes, *more]


def open_nifti(path: Path) -> Any:
    """The nibabel image of a file, its voxels not yet read; to be called within `readable`."""
    import nibabel

    check_not_empty(path)
    image: Any = nibabel.load(path)
    _check_size(path, image)
    return image


@contextmanager
def readable(path: Path) -> Iterator[list[str]]:
    """What nibabel raises on a damaged file becomes an InputError of one line, what it repairs a note in the list."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.freesurfer.mghformat import MGHError
    from nibabel.spatialimages import HeaderDataError

    failures = (ImageFileError, HeaderDataError, MGHError, OSError, EOFError, ValueError)
    with warnings.catch_warnings(), _remarks(path) as remarks:
        warnings.simplefilter("ignore")  # of arithmetic on a header's odd numbers; what matters is checked below
        try:
            yield remarks
        except (*failures, zlib.error, KeyError, MemoryError, OverflowError) as error:
            raise InputError(f"{path}: cannot be read as an image: {_line(error)}; {WHOLE_FILE}") from error


@contextmanager
def _remarks(path: Path) -> Iterator[list[str]]:
    """What nibabel logs of headers that it repairs, in this thread, as notes; none of it reaches the terminal."""
    from nibabel.imageglobals import logger

    here, notes = threading.get_ident(), list[str]()

    def keep(record: logging.LogRecord) -> bool:
        if record.thread == here and (note := f"{path.name}: {record.getMessage()}") not in notes:
            notes.append(note)
        return record.thread != here

    logger.addFilter(keep)
    try:
        yield notes
    finally:
        logger.removeFilter(keep)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def check_numbers(image: Any, path: Path) -> None:
    """Raise InputError where the voxels are colours or complex."""
    kind = np.dtype(image.get_data_dtype())
    if kind.names or kind.kind not in "buif":
        raise InputError(f"{path} holds colour or complex values ({kind}); convert it to one grey value a voxel")


def _check_size(path: Path, image: Any) -> None:
    """The voxels that the header promises can be in this file; else a lie would allocate terabytes."""
    shape, itemsize = image.shape, int(np.dtype(image.get_data_dtype()).itemsize)
    need, have = int(np.prod([int(n) for n in shape], dtype=object)) * itemsize, path.stat().st_size
    packed = path.suffix.lower() in (".gz", ".mgz", ".bz2", ".zst")
    if min(shape, default=0) <= 0 or need > (have * MOST_INFLATION if packed else have):
        raise InputError(
            f"{path}: its header promises {need} bytes of voxels for size {tuple(int(n) for n in shape)}, "
            f"the file has {have}; it is damaged or cut off"
        )


def _values(image: Any, volume: int | None, path: Path) -> tuple[np.ndarray, list[str]]:
    """The 3-D array, scaled by slope and intercept in float32."""
    proxy, shape = image.dataobj, [int(n) for n in image.shape]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) == 5 and shape[3] == 1:
        raise InputError(f"{path} holds vectors {tuple(shape)}; expected one value a voxel")
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise InputError(f"{path} has size {tuple(shape)}: expected a 3-D image of at least two voxels along each axis")
    if len(shape) > 4:
        raise InputError(f"{path} has size {tuple(shape)}: expected a 3-D image, or a series of them (4-D)")
    if len(shape) == 4 and volume is None:
        raise InputError(
            f"{path} has size {tuple(shape)}; say which volume to take: --volume K, K from 0 to {shape[3] - 1}"
        )
    check_numbers(image, path)
    raw = np.asanyarray(proxy.get_unscaled() if hasattr(proxy, "get_unscaled") else proxy)
    raw = raw.reshape(shape, order="A") if list(raw.shape) != shape else raw
    if len(shape) == 4:
        if volume is None or not 0 <= volume < shape[3]:
            raise InputError(f"{path} has {shape[3]} volumes; --volume must be 0 to {shape[3] - 1}, got {volume}")
        raw = raw[..., volume]
    slope, inter, notes = float(getattr(proxy, "slope", 1.0)), float(getattr(proxy, "inter", 0.0)), []
    if not np.isfinite([slope, inter]).all() or slope == 0:
        notes.append(f"{path.name}: its slope {slope:g} or intercept {inter:g} is not usable; stored values are taken")
        slope, inter = 1.0, 0.0
    if inter and abs(inter) * 2**-23 > np.ptp(raw) * abs(slope) / FEWEST_LEVELS:
        notes.append(f"{path.name}: its intercept {inter:g} would drown the values in float32 and is left out")
        inter = 0.0
    if (slope, inter) != (1.0, 0.0):
        raw = (raw * np.float64(slope) + inter).astype(np.float32)
    elif isinstance(raw, np.memmap):  # a file that is cut off later must not change, or end, what works on it
        raw = np.array(raw)
    return raw, notes


def orientation(image: Any, path: Path) -> tuple[np.ndarray, list[str]]:
    """Index -> LPS mm, chosen as ITK does: sform if it is of the scanner or alone, else qform, else spacing only."""
    header = image.header
    notes: list[str] = []
    if not hasattr(header, "get_qform"):
        return RAS_LPS @ np.asarray(image.affine, np.float64), notes
    sform, scode = header.get_sform(coded=True)
    try:
        qform, qcode = header.get_qform(coded=True)
    except ValueError:
        qform, qcode = None, 0
        notes.append(f"{path.name}: its qform is not valid and is left out")
    if scode and qcode and not np.allclose(sform, qform, atol=1e-2):
        name = "sform" if scode == 1 else "qform"
        notes.append(f"{path.name}: sform and qform disagree; the {name} is used, as ITK does")
    if sform is not None and (scode == 1 or (scode and not qcode)):
        return RAS_LPS @ sform, notes
    if qform is not None:
        return RAS_LPS @ qform, notes
    notes.append(f"{path.name}: its header has no orientation; axes are taken as LPS with the given spacing")
    spacing = np.abs(np.array(header.get_zooms()[:3], dtype=np.float64))
    return np.diag([*np.where(spacing > 0, spacing, 1.0), 1.0]), notes
