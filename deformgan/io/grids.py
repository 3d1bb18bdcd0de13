"""Where the voxels of an image lie, read from its header alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.itk_header import ITK_ENDINGS, itk_header
from deformgan.io.nifti import NIFTI_ENDINGS, open_nifti, orientation, readable
from deformgan.io.volume import as_volume, orthonormal


def read_grid(source: Any) -> Geometry:
    """The grid of an image: a path (4-D files count too), a Geometry, or whatever `as_volume` takes.

    Raises InputError.
    """
    return grid_and_notes(source)[0]


def grid_and_notes(source: Any) -> tuple[Geometry, list[str]]:
    """(the grid, what was repaired in the header, a sentence each); as `read_grid`."""
    if isinstance(source, Geometry):
        return source, []
    if isinstance(source, str | os.PathLike) and Path(source).is_file():
        name = Path(source).name.lower()
        if name.endswith(NIFTI_ENDINGS):
            return _of_nifti(Path(source))
        if name.endswith(ITK_ENDINGS):
            return _of_itk(Path(source))
    volume = as_volume(source)
    return volume.geometry, list(volume.notes)


def _of_nifti(path: Path) -> tuple[Geometry, list[str]]:
    with readable(path) as remarks:
        image = open_nifti(path)
        matrix, notes = orientation(image, path)
    grid, more = orthonormal(matrix, tuple(int(n) for n in image.shape[:3]), str(path))
    return grid, [*remarks, *notes, *more]


def _of_itk(path: Path) -> tuple[Geometry, list[str]]:
    reader = itk_header(path)
    if (dimension := reader.GetDimension()) not in (3, 4):
        raise InputError(f"{path} is {dimension}-D; expected a 3-D image")
    matrix = np.eye(4)
    cosines = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    matrix[:3, :3] = cosines * np.array(reader.GetSpacing()[:3])
    matrix[:3, 3] = reader.GetOrigin()[:3]
    return orthonormal(matrix, tuple(reader.GetSize()[:3]), str(path))
