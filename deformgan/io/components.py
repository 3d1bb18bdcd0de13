"""Images of vectors (3 components) and of symmetric tensors (6), as NIfTI and ITK keep them.

Inside, the components come first: (C, Z, Y, X) float32; those of a tensor are xx xy yy xz yz zz, as in NIfTI (intent
1005, the lower triangle row by row).  ITK's files list xx xy xz yy yz zz, and that is dealt with here alone.  The frame
in which the components are meant is not a matter of this module.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError, OutputError
from deformgan.io.geometry import Geometry
from deformgan.io.gzipped import new_file
from deformgan.io.headers import COMPONENTS, TENSORS, VECTORS
from deformgan.io.itk_header import complaint, itk_image
from deformgan.io.nifti import check_numbers, open_nifti, orientation, readable
from deformgan.io.volume import RAS_LPS, orthonormal
from deformgan.io.whole_file import whole_file

_ITK_ORDER = [0, 1, 3, 2, 4, 5]  # its own inverse
_NIFTI = (".nii", ".nii.gz")
_ITK = (".mha", ".nrrd")


def read_components(path: str | os.PathLike[str]) -> tuple[NDArray[np.float32], Geometry, list[str]]:
    """((C, Z, Y, X), grid, notes) of a file that holds vectors or tensors.  Raises InputError."""
    source = Path(path)
    values, matrix, size, notes = _of_nifti(source) if source.name.lower().endswith(_NIFTI) else _of_itk(source)
    geometry, more = orthonormal(matrix, size, str(source))
    if len(values) not in COMPONENTS.values():
        raise InputError(f"{source} holds {len(values)} values a voxel; expected 3 (vectors) or 6 (tensors)")
    if not (finite := np.isfinite(values)).all():
        notes.append(f"{source.name}: {int((~finite).sum())} values were not finite; they count as 0")
        values = np.where(finite, values, np.float32(0))
    return np.ascontiguousarray(values), geometry, notes + more


def write_components(values: NDArray[Any], geometry: Geometry, path: str | os.PathLike[str], dtype: Any) -> None:
    """Write (C, Z, Y, X): .nii, .nii.gz (5-D, intent 1007 or 1005), .mha or .nrrd.  Raises OutputError."""
    target = Path(path)
    name = target.name.lower()
    if not name.endswith((*_NIFTI, *_ITK)):
        raise OutputError(f"{target}: vectors and tensors are written as {', '.join((*_NIFTI, *_ITK))}")
    values = values.astype(dtype, copy=False)
    with whole_file(target) as scratch:
        if name.endswith(_NIFTI):
            with new_file(scratch, packed=name.endswith(".gz")) as stream:
                stream.write(_nifti(values, geometry).to_bytes())
        else:
            _write_itk(values, geometry, scratch)


def _of_nifti(path: Path) -> tuple[NDArray[np.float32], np.ndarray, tuple[int, ...], list[str]]:
    with readable(path):
        image = open_nifti(path)
        check_numbers(image, path)
        values = np.asarray(image.dataobj, np.float32)
        matrix, notes = orientation(image, path)
    if values.ndim < 4:
        raise InputError(f"{path} has size {values.shape}; expected several values a voxel")
    values = values.reshape((*values.shape[:3], -1), order="F")
    return values.transpose(3, 2, 1, 0), matrix, values.shape[:3], notes


def _of_itk(path: Path) -> tuple[NDArray[np.float32], np.ndarray, tuple[int, ...], list[str]]:
    import SimpleITK as sitk

    image = itk_image(path)
    if image.GetDimension() != 3:
        raise InputError(f"{path} is {image.GetDimension()}-D with several values a voxel; expected 3-D")
    if image.GetNumberOfComponentsPerPixel() == 1:
        raise InputError(f"{path} holds one value a voxel; expected several")
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    values = np.moveaxis(sitk.GetArrayFromImage(image).astype(np.float32, copy=False), -1, 0)
    notes = []
    if "NRRD_measurement frame" in image.GetMetaDataKeys():
        notes.append(f"{path.name}: its measurement frame is not applied; components are taken as they are")
    return values[_ITK_ORDER] if len(values) == 6 else values, matrix, image.GetSize(), notes


def _nifti(values: NDArray[Any], geometry: Geometry) -> Any:
    import nibabel

    image = nibabel.Nifti1Image(values.transpose(3, 2, 1, 0)[:, :, :, None], RAS_LPS @ geometry.matrix)
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header.set_intent(*((VECTORS,) if len(values) == 3 else (TENSORS, (3,))))
    return image


def _write_itk(values: NDArray[Any], geometry: Geometry, scratch: Path) -> None:
    import SimpleITK as sitk

    ordered = values[_ITK_ORDER] if len(values) == 6 else values
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.moveaxis(ordered, 0, -1)), isVector=True)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    try:
        sitk.WriteImage(image, str(scratch), useCompression=True)
    except RuntimeError as error:
        raise OSError(complaint(error)) from error
