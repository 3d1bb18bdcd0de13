"""FreeSurfer's .lta: a matrix from the moving ("src") to the fixed ("dst") volume, between voxels or RAS mm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.transforms.parts import Affine
from deformgan.io.volume import RAS_LPS

_VOXELS, _RAS = 0, 1


def read_lta(path: Path) -> Affine:
    """Of type 0 (voxel to voxel) or 1 (RAS to RAS), one matrix.  Raises InputError."""
    from nitransforms.io.lta import FSLinearTransformArray, TransformFileError

    # Names of volumes are of no use here, and those with a space in them trouble the reader.
    text = re.sub(r"(?m)^filename\s*=.*$", "filename = none", path.read_text(encoding="utf-8", errors="replace"))
    try:
        array = FSLinearTransformArray.from_string(text)
        kind, count, first = int(array["type"]), int(array["nxforms"]), array.xforms[0]
    except (AssertionError, IndexError, KeyError, TypeError, ValueError, TransformFileError) as error:
        raise InputError("it is damaged, or no .lta as FreeSurfer writes it") from error
    if kind not in (_VOXELS, _RAS) or count != 1:
        raise InputError(
            f"has {count} matrices of type {kind}; `lta_convert --inlta {path.name} --outlta new.lta` writes one of "
            "type 1 (RAS to RAS)"
        )
    if kind == _VOXELS and not (first["src"]["valid"] and first["dst"]["valid"]):
        raise InputError("goes from voxel to voxel but does not say where the voxels lie (valid = 0)")
    try:
        matrix = RAS_LPS @ first.to_ras() @ RAS_LPS
    except np.linalg.LinAlgError as error:
        raise InputError("goes from voxel to voxel of volumes that are singular; it is damaged") from error
    matrix[3] = 0, 0, 0, 1
    return Affine(matrix)


def write_lta(matrix: NDArray[np.float64], path: Path, fixed: Geometry, moving: Geometry) -> None:
    """The matrix (4, 4) of LPS points, fixed -> moving, as a RAS-to-RAS .lta from the moving to the fixed volume."""
    from nitransforms.io.lta import FSLinearTransformArray

    # The library calls "reference" what FreeSurfer calls src, and inverts the matrix.
    ras = (RAS_LPS @ matrix @ RAS_LPS)[None]
    lta = FSLinearTransformArray.from_ras(ras, reference=_image(moving), moving=_image(fixed))
    path.write_text(lta.to_string(), encoding="utf-8")


def _image(geometry: Geometry) -> Any:
    """An image without content on the grid."""
    import nibabel

    return nibabel.Nifti1Image(np.broadcast_to(np.uint8(0), geometry.size), RAS_LPS @ geometry.matrix)
