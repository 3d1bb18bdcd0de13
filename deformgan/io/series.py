"""4-D NIfTI files, a volume at a time from the file and to the file: memory does not grow with their length."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError, OutputError
from deformgan.io.geometry import Geometry
from deformgan.io.gzipped import new_file
from deformgan.io.nifti import open_nifti, orientation, readable
from deformgan.io.volume import RAS_LPS, orthonormal
from deformgan.io.whole_file import whole_file

_ENDINGS = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Series:
    """`count` volumes of one grid in a file; `header` is nibabel's, `notes` say what was repaired."""

    path: Path
    geometry: Geometry
    count: int
    header: Any
    notes: tuple[str, ...]
    offset: int
    scale: tuple[float, float]

    def volumes(self) -> Iterator[NDArray[Any]]:
        """Each volume as (Z, Y, X): the stored type, or float32 where the header scales the values.

        Raises InputError where the file ends too early.
        """
        dtype = self.header.get_data_dtype()
        bytes_each = int(np.prod(self.geometry.size)) * dtype.itemsize
        slope, inter = self.scale
        opened = gzip.open if self.path.name.lower().endswith(".gz") else open
        with opened(self.path, "rb") as stream:
            stream.seek(self.offset)
            for number in range(self.count):
                array = np.frombuffer(_exactly(stream, bytes_each, self.path, number), dtype)
                array = array.reshape(self.geometry.shape).astype(dtype.newbyteorder("="), copy=False)
                yield array if self.scale == (1.0, 0.0) else (array * np.float64(slope) + inter).astype(np.float32)


def open_series(path: str | os.PathLike[str]) -> Series:
    """The header of a 4-D .nii or .nii.gz.  Raises InputError for another format, or values that are not numbers."""
    source = Path(path)
    if not source.name.lower().endswith(_ENDINGS):
        raise InputError(f"{source}: a series is read from .nii or .nii.gz; convert it, or take one with --volume K")
    with readable(source):
        image = open_nifti(source)
        header, proxy = image.header, image.dataobj
        shape = tuple(int(n) for n in image.shape)
        matrix, notes = orientation(image, source)
    if header.get_data_dtype().names or header.get_data_dtype().kind not in "buif":
        raise InputError(f"{source} holds colour or complex values ({header.get_data_dtype()}); convert it")
    geometry, more = orthonormal(matrix, shape[:3], str(source))
    scale = float(proxy.slope), float(proxy.inter)
    if not np.isfinite(scale).all() or scale[0] == 0:
        more.append(f"{source.name}: its slope or intercept is not usable; stored values are taken")
        scale = 1.0, 0.0
    return Series(source, geometry, int(np.prod(shape[3:])), header, (*notes, *more), int(proxy.offset), scale)


@contextmanager
def writing_series(
    path: str | os.PathLike[str], like: Series, geometry: Geometry, dtype: Any
) -> Iterator[Callable[[NDArray[Any]], None]]:
    """A function that appends a volume (Z, Y, X) to a new file; the file appears when the block ends.

    Time step, units, intent and description are those of `like`; sform and qform are both those of `geometry`.
    Raises OutputError for an ending that is not .nii or .nii.gz, or when the system refuses to write.
    """
    target = Path(path)
    if not target.name.lower().endswith(_ENDINGS):
        raise OutputError(f"{target}: a series is written as .nii or .nii.gz; rename it with --out")
    header = _header(like, geometry, np.dtype(dtype))
    with whole_file(target) as scratch, new_file(scratch, packed=target.name.lower().endswith(".gz")) as stream:
        header.write_to(stream)
        stream.write(b"\0" * (int(header["vox_offset"]) - stream.tell()))

        def append(volume: NDArray[Any]) -> None:
            stream.write(np.ascontiguousarray(volume, dtype).data.cast("B"))

        yield append


def _header(like: Series, geometry: Geometry, dtype: np.dtype[Any]) -> Any:
    header = like.header.copy()
    header = header if header.endianness == "<" else header.as_byteswapped("<")
    steps = header.get_zooms()[3:]
    spatial, temporal = header.get_xyzt_units()
    header.extensions.clear()  # they may describe the old grid
    header.set_data_dtype(dtype)
    header.set_data_shape((*geometry.size, like.count))
    header.set_zooms((*geometry.spacing, *(steps[:1] or (1.0,))))
    header.set_slope_inter(1.0, 0.0)
    header.set_xyzt_units("mm", temporal if spatial or temporal else None)
    header.set_dim_info(None, None, None)  # axes of frequency, phase and slice do not outlive resampling
    header["slice_code"], header["slice_start"], header["slice_end"], header["slice_duration"] = 0, 0, 0, 0
    for place in (header.set_qform, header.set_sform):
        place(RAS_LPS @ geometry.matrix, code=1)
    header["magic"] = b"n+2" if int(header["sizeof_hdr"]) == 540 else b"n+1"
    header["vox_offset"] = 544 if int(header["sizeof_hdr"]) == 540 else 352
    return header


def _exactly(stream: Any, count: int, path: Path, number: int) -> bytes:
    try:
        found: bytes = stream.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: is damaged or cut off in volume {number}: {error}") from error
    if len(found) < count:
        raise InputError(f"{path}: ends in volume {number}; {len(found)} of its {count} bytes are there")
    return found
