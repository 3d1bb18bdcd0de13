"""Displacement files of the Learn2Reg challenge: voxels, (X, Y, Z, 3), as 4-D NIfTI or .npz."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.nifti import check_numbers, open_nifti, readable


def read_voxel_displacement(path: str | os.PathLike[str]) -> NDArray[np.float32] | None:
    """(X, Y, Z, 3), components x, y, z, voxels; None for a file of another kind, such as an ITK transform.

    A NIfTI counts if it is 4-D: ITK's displacement images are 5-D.  Raises InputError for a damaged file or another
    shape.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    try:
        u = _array(source)
    except (OSError, EOFError, KeyError, ValueError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{source}: cannot be read as a displacement of Learn2Reg: {reason}") from error
    if u is not None and (u.ndim != 4 or u.shape[3] != 3 or u.dtype.kind not in "fiu" or not np.isfinite(u).all()):
        raise InputError(f"{source}: a displacement of Learn2Reg is (X, Y, Z, 3) and finite, got {u.shape} {u.dtype}")
    return None if u is None else u.astype(np.float32, copy=False)


def _array(source: Path) -> np.ndarray | None:
    if source.suffix == ".npz":
        with np.load(source) as file:
            return np.asarray(file["arr_0"])
    if not source.name.endswith((".nii", ".nii.gz")):
        return None
    with readable(source):
        image = open_nifti(source)
        if len(image.shape) != 4:
            return None
        check_numbers(image, source)
        return np.asarray(image.dataobj, np.float32)
