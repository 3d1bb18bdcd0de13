"""FSL's transforms: flirt's matrix and the displacement fields of fnirt, convertwarp and applywarp.

FSL measures in millimetres from the first voxel along the axes of an image, whichever way they point in the world, and
counts x from the other end where the image's matrix has a positive determinant.  So nothing of FSL's has a meaning
without the images it belongs to.  Source: FSL's documentation of flirt and fnirt; the
tests hold it against FSL's own Python library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.transforms.matrix_texts import read_matrix, write_matrix
from deformgan.io.transforms.nifti_vectors import VectorImage, plane_points, read_vectors, write_vectors
from deformgan.io.transforms.parts import Affine, DisplacementField

Kind = Literal["relative", "absolute"]
FIELD_INTENT = 2006
COEFFICIENT_INTENTS = (2007, 2008, 2009)
_PLANES_ASKED = 9


def read_flirt(path: Path, fixed: Geometry, moving: Geometry) -> Affine:
    """flirt -in MOVING -ref FIXED -omat FILE: moving -> fixed in FSL's millimetres.  Raises InputError."""
    matrix = np.linalg.inv(from_world(moving)) @ np.linalg.inv(Affine(read_matrix(path)).matrix) @ from_world(fixed)
    matrix[3] = 0, 0, 0, 1
    return Affine(matrix)


def write_flirt(matrix: NDArray[np.float64], path: Path, fixed: Geometry, moving: Geometry) -> None:
    """The matrix (4, 4) of LPS points, fixed -> moving, as `flirt -applyxfm -init FILE` takes it."""
    write_matrix(from_world(fixed) @ np.linalg.inv(matrix) @ np.linalg.inv(from_world(moving)), path)


def read_warp(path: Path, moving: Geometry, kind: Kind | None) -> DisplacementField:
    """A field on the fixed image's grid: in FSL's millimetres, where a voxel comes from or how far it is from there.

    kind: None = the one of the two readings that moves the fixed points less far in the world: the other puts them at
    the corner of the moving image, or twice as far as they lie.
    Raises InputError, for a file of coefficients too.
    """
    image = read_vectors(path)
    if image.intent[0] in COEFFICIENT_INTENTS:
        raise InputError(
            f"holds spline coefficients; `fnirtfileutils --in={path.name} --ref=FIXED --out=field --withaff` makes a "
            "field of it"
        )
    out = np.empty(image.vectors.shape, np.float32)
    chosen = kind or _kind_of(image, moving)
    for plane in range(len(out)):
        out[plane] = _way(image, moving, plane, chosen)
    return DisplacementField(image.geometry, out)


def write_warp(part: DisplacementField, path: Path, moving: Geometry, kind: Kind) -> None:
    """Write for applywarp; the field lies on the fixed image's grid."""
    grid, to_fsl = part.geometry, from_world(moving)
    vectors = np.empty_like(part.displacement)
    for plane, u in enumerate(part.displacement):
        ends = (plane_points(grid.matrix, grid, plane) + u) @ to_fsl[:3, :3].T + to_fsl[:3, 3]
        vectors[plane] = ends if kind == "absolute" else ends - plane_points(scaled_mm(grid), grid, plane)
    write_vectors(vectors, grid, path, intent=(FIELD_INTENT, "", 0.0), five=False)


def _kind_of(image: VectorImage, moving: Geometry) -> Kind:
    """The reading that moves the points of a few planes less far."""
    planes = np.unique(np.linspace(0, len(image.vectors) - 1, _PLANES_ASKED).astype(int)).tolist()

    def mean_way(kind: Kind) -> float:
        return float(np.mean([np.abs(_way(image, moving, plane, kind)).mean() for plane in planes]))

    return "absolute" if mean_way("absolute") < mean_way("relative") else "relative"


def _way(image: VectorImage, moving: Geometry, plane: int, kind: Kind) -> NDArray[np.float64]:
    """(Y, X, 3): u of one plane, LPS mm."""
    grid, to_world = image.geometry, np.linalg.inv(from_world(moving))
    ends = image.vectors[plane] + (plane_points(scaled_mm(grid), grid, plane) if kind == "relative" else 0.0)
    way: NDArray[np.float64] = ends @ to_world[:3, :3].T + to_world[:3, 3] - plane_points(grid.matrix, grid, plane)
    return way


def scaled_mm(geometry: Geometry) -> NDArray[np.float64]:
    """(4, 4): voxel index -> FSL's millimetres."""
    matrix = np.diag([*geometry.spacing, 1.0])
    if np.linalg.det(geometry.matrix) > 0:  # of LPS as of RAS: the flip between them is half a turn
        matrix[0, 0] *= -1
        matrix[0, 3] = (geometry.size[0] - 1) * geometry.spacing[0]
    return matrix


def from_world(geometry: Geometry) -> NDArray[np.float64]:
    """(4, 4): LPS mm -> FSL's millimetres of an image."""
    matrix: NDArray[np.float64] = scaled_mm(geometry) @ geometry.inverse
    return matrix
