"""NiftyReg's deformation fields, displacement fields and control point grids: NIfTI images that speak RAS mm."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deformgan.errors import InputError
from deformgan.io.transforms.nifti_vectors import plane_points, read_vectors, write_vectors
from deformgan.io.transforms.parts import DisplacementField
from deformgan.io.transforms.splines import sampled_spline
from deformgan.io.volume import RAS_LPS

INTENT = "NREG_TRANS"
_VECTOR = 1007
_DEFORMATION, _DISPLACEMENT, _CUBIC_GRID = 0.0, 1.0, 2.0


def read_niftyreg_field(path: Path) -> DisplacementField:
    """A deformation (where a point goes), a displacement (how far), or a cubic control point grid of reg_f3d.

    A grid is sampled (`deformgan.io.transforms.splines`).  Raises InputError for a velocity.
    """
    image = read_vectors(path)
    _, name, kind = image.intent
    vectors, grid = image.vectors * np.float32(np.diag(RAS_LPS)[:3]), image.geometry
    if name == INTENT and kind == _DISPLACEMENT:
        return DisplacementField(grid, vectors)
    if name == INTENT and kind not in (_DEFORMATION, _CUBIC_GRID):
        raise InputError(
            f"holds a velocity or another grid; `reg_transform -ref FIXED -def {path.name} deformation.nii.gz` makes a "
            "deformation field of it"
        )
    for plane, positions in enumerate(vectors):
        positions -= plane_points(grid.matrix, grid, plane)
    if kind == _CUBIC_GRID:  # of positions; a B-spline repeats a linear function, so displacements are as good
        return sampled_spline(vectors, grid)
    return DisplacementField(grid, vectors)


def write_niftyreg_field(part: DisplacementField, path: Path) -> None:
    """Write a deformation field, for reg_resample and reg_transform."""
    grid, positions = part.geometry, part.displacement * np.float32(np.diag(RAS_LPS)[:3])
    for plane, here in enumerate(positions):
        here += plane_points(RAS_LPS @ grid.matrix, grid, plane)
    write_vectors(positions, grid, path, intent=(_VECTOR, INTENT, _DEFORMATION), five=True)
