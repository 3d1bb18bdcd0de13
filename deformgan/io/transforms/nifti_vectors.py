"""NIfTI images of three components a voxel, as NiftyReg (5-D) and FSL (4-D) write their fields."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.nifti import check_numbers, open_nifti, orientation, readable
from deformgan.io.volume import RAS_LPS


class VectorImage(NamedTuple):
    """vectors: (Z, Y, X, 3) float32, components as the file has them.  intent: the header's code, name and p1."""

    vectors: NDArray[np.float32]
    geometry: Geometry
    intent: tuple[int, str, float]


def intent_of(path: Path) -> tuple[int, str, float, tuple[int, ...]]:
    """Intent code, name and first parameter, and the shape, of a NIfTI header.  Raises InputError."""
    with readable(path):
        image = open_nifti(path)
        header = image.header
        name = bytes(header["intent_name"].item()).split(b"\0")[0].decode("latin-1")
        return int(header["intent_code"]), name, float(header["intent_p1"]), tuple(int(n) for n in image.shape)


def read_vectors(path: Path) -> VectorImage:
    """A NIfTI file of shape (X, Y, Z, 3) or (X, Y, Z, 1, 3).  Raises InputError."""
    code, name, parameter, shape = intent_of(path)
    if shape[3:] not in ((3,), (1, 3)):
        raise InputError(f"{path} has size {shape}; expected three components a voxel")
    with readable(path):
        image = open_nifti(path)
        check_numbers(image, path)
        array = np.asarray(image.dataobj, dtype=np.float32).reshape((*shape[:3], 3), order="A")
        matrix, _ = orientation(image, path)
    if not np.isfinite(array).all():
        raise InputError(f"{path} has values that are not finite")
    grid = Geometry.from_matrix(matrix, shape[:3])
    return VectorImage(array.transpose(2, 1, 0, 3), grid, (code, name, parameter))


def write_vectors(
    vectors: NDArray[np.floating], geometry: Geometry, path: Path, *, intent: tuple[int, str, float], five: bool
) -> None:
    """Write (Z, Y, X, 3) as float32, (X, Y, Z, 1, 3) if `five`, else (X, Y, Z, 3); qform and sform equal."""
    import nibabel

    array = np.asarray(vectors, np.float32).transpose(2, 1, 0, 3)
    image = nibabel.Nifti1Image(array[:, :, :, None] if five else array, RAS_LPS @ geometry.matrix)
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    code, name, parameter = intent
    image.header["intent_code"] = code
    image.header["intent_name"] = name.encode()
    image.header["intent_p1"] = parameter
    nibabel.save(image, path)


def plane_points(matrix: NDArray[np.float64], geometry: Geometry, plane: int) -> NDArray[np.float64]:
    """(Y, X, 3): the voxel indices x, y, z of one plane of a grid put through `matrix` (4, 4)."""
    y, x = np.ogrid[: geometry.size[1], : geometry.size[0]]
    return np.stack([row[0] * x + row[1] * y + (row[2] * plane + row[3]) for row in matrix[:3]], -1)
