"""ITK's transform files: HDF5 composites, .tfm, .txt and .mat, and displacement images in NIfTI, MHA and NRRD.

`parts` are listed in the order in which they are applied; an ITK composite lists them the other way round, and that is
dealt with here (writing) and in `itk_records` (reading) alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError, OutputError
from deformgan.io.geometry import Geometry
from deformgan.io.headers import DISPLACEMENTS, VECTORS
from deformgan.io.itk_header import itk_image
from deformgan.io.transforms.itk_records import HDF5_ENDINGS, Record, read_records
from deformgan.io.transforms.nifti_vectors import intent_of, read_vectors, write_vectors
from deformgan.io.transforms.parts import Affine, DisplacementField, Part, Writable, one_field, one_matrix
from deformgan.io.transforms.splines import sampled_spline
from deformgan.io.volume import RAS_LPS
from deformgan.io.workplace import reserve

IMAGE_ENDINGS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
_MATRIX_ENDINGS = (".tfm", ".txt", ".mat")
_MATRIX_BYTES = 4096  # more than any of their files takes
_OF_DIMENSION = ("AffineTransform", "ScaleTransform", "TranslationTransform")
_LINEAR = (
    *_OF_DIMENSION, "Euler3DTransform", "VersorTransform", "VersorRigid3DTransform", "Similarity3DTransform",
    "ScaleVersor3DTransform", "ScaleSkewVersor3DTransform", "ComposeScaleSkewVersor3DTransform",
)  # fmt: skip
_SAME_NUMBERS = {"MatrixOffsetTransformBase": "AffineTransform", "Rigid3DTransform": "AffineTransform"}


def read_itk(source: Path) -> tuple[Part, ...]:
    """The parts of a file that ITK, ANTs, greedy (its warps), SimpleITK, 3D Slicer or deformgan wrote.

    Linear transforms of any kind become an `Affine`, displacement fields stay, B-splines are sampled
    (`io.transforms.splines`), composites are flattened.  Vectors of an image are LPS mm.  Raises InputError, OSError or
    RuntimeError.
    """
    name = source.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return (_field_of_nifti(source),)
    if name.endswith(IMAGE_ENDINGS):
        return (_field_of(itk_image(source)),)
    return tuple(_part_of(record) for record in read_records(source))


def write_itk(transform: Writable, scratch: Path, fixed: Geometry | None) -> None:
    """Write by the ending: .h5 (any chain), .tfm, .txt, .mat (a matrix), or an image (one field, see `one_field`).

    Matrices are float64, displacements float32.  Raises OutputError.
    """
    import SimpleITK as sitk

    ending = scratch.suffix.lower()
    if ending in HDF5_ENDINGS:
        scratch.write_bytes(_composite_bytes(transform.parts))
    elif ending in _MATRIX_ENDINGS:
        reserve(scratch, _MATRIX_BYTES)  # the writer is silent where the disk is full
        sitk.WriteTransform(_affine(one_matrix(transform, f"ITK's {ending}")), str(scratch))
    elif scratch.name.lower().endswith((".nii", ".nii.gz")):
        part = one_field(transform, "a displacement image", fixed)
        # Not by ITK, whose writer of NIfTI is silent where the disk is full.
        write_vectors(part.displacement, part.geometry, scratch, intent=(VECTORS, "", 0.0), five=True)
    elif ending in (".mha", ".nrrd"):
        part = one_field(transform, "a displacement image", fixed)
        image = _placed(sitk.GetImageFromArray(part.displacement, isVector=True), part.geometry)
        sitk.WriteImage(image, str(scratch), useCompression=True)
    else:
        known = ", ".join((*HDF5_ENDINGS, *_MATRIX_ENDINGS, ".nii", ".nii.gz", ".mha", ".nrrd", ".lta", ".x5"))
        raise OutputError(f"a transform is written as {known}, not as {ending or 'a name without ending'}; try .h5")


def resample_by_library(
    moving: NDArray[Any],
    geometry: Geometry,
    parts: Sequence[Part],
    reference: Geometry,
    *,
    interpolation: str,
    outside: float,
) -> NDArray[np.float32]:
    """`moving` (Z, Y, X) on `geometry`, pulled onto `reference` by SimpleITK; (Z', Y', X') float32.

    interpolation: "cubic" (interpolating B-spline of third order) or "lanczos" (windowed sinc, five lobes).
    """
    import SimpleITK as sitk

    kind = {"cubic": sitk.sitkBSpline3, "lanczos": sitk.sitkLanczosWindowedSinc}[interpolation]
    image = _placed(sitk.GetImageFromArray(np.ascontiguousarray(moving, np.float32)), geometry)
    pulled = sitk.Resample(
        image,
        reference.size,
        _composite(parts),
        kind,
        reference.origin,
        reference.spacing,
        reference.direction,
        float(outside),
        sitk.sitkFloat32,
    )
    array: NDArray[np.float32] = sitk.GetArrayFromImage(pulled)
    return array


def _composite_bytes(parts: Sequence[Part]) -> bytes:
    """ITK's HDF5 layout: group 0 names the composite, groups 1, 2, ... its parts, the one applied first at the end."""
    import h5py

    with h5py.File("transform", "w", driver="core", backing_store=False) as file:
        for name, value in (("ITKVersion", "5.4.0"), ("HDFVersion", h5py.version.hdf5_version), ("OSName", "")):
            _write_text(file, name, value)
        _write_text(file, "OSVersion", "")
        _write_text(file, "TransformGroup/0/TransformType", "CompositeTransform_double_3_3")
        for number, part in enumerate(reversed(parts or (Affine(np.eye(4)),)), start=1):
            _write_part(file.create_group(f"TransformGroup/{number}"), part)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _write_part(group: Any, part: Part) -> None:
    if isinstance(part, Affine):
        _write_text(group, "TransformType", "AffineTransform_double_3_3")
        group["TransformFixedParameters"] = np.zeros(3)  # the centre of rotation
        group["TransformParameters"] = np.concatenate([part.matrix[:3, :3].ravel(), part.matrix[:3, 3]])
        return
    grid = part.geometry
    _write_text(group, "TransformType", "DisplacementFieldTransform_double_3_3")
    group["TransformFixedParameters"] = np.array([*grid.size, *grid.origin, *grid.spacing, *grid.direction], np.float64)
    # Not compressed: gzip with shuffle takes twenty times as long and saves a sixth.
    group["TransformParameters"] = part.displacement.ravel()


def _write_text(group: Any, name: str, text: str) -> None:
    import h5py

    group.create_dataset(name, data=[text], dtype=h5py.string_dtype("ascii"))


def _part_of(record: Record) -> Part:
    if record.kind.endswith("DisplacementFieldTransform"):
        grid = _grid_of_numbers(record, 3)
        return DisplacementField(grid, record.parameters.reshape(*grid.shape, 3).astype(np.float32, copy=False))
    if record.kind == "BSplineTransform":
        grid = _grid_of_numbers(record, 3)
        coefficients = np.moveaxis(record.parameters.reshape(3, *grid.shape), 0, -1)
        return sampled_spline(coefficients, grid, order=record.order)
    return Affine(_matrix_of(record))


def _grid_of_numbers(record: Record, components: int) -> Geometry:
    """The lattice of a record: size, origin, spacing and direction are its fixed parameters."""
    numbers = record.fixed.tolist()
    size = [int(n) for n in numbers[:3]]
    if len(numbers) != 18 or size != numbers[:3] or components * math.prod(size) != record.parameters.size:
        raise InputError(f"a {record.kind} of {record.parameters.size} numbers does not fill its grid {numbers[:3]}")
    return Geometry((size[0], size[1], size[2]), tuple(numbers[6:9]), tuple(numbers[3:6]), tuple(numbers[9:]))


def _matrix_of(record: Record) -> NDArray[np.float64]:
    """(4, 4) of a linear transform of any kind: what it does to the origin and to the three unit vectors."""
    import SimpleITK as sitk

    if record.kind == "IdentityTransform":
        return np.eye(4)
    name = _SAME_NUMBERS.get(record.kind, record.kind)
    if name not in _LINEAR:
        raise InputError(f"a {record.kind} is not supported; convert it to a displacement field")
    transform = getattr(sitk, name)(3) if name in _OF_DIMENSION else getattr(sitk, name)()
    wanted = len(transform.GetParameters()), len(transform.GetFixedParameters())
    if (record.parameters.size, record.fixed.size) != wanted:
        raise InputError(f"a {record.kind} has {wanted[0]} parameters, found {record.parameters.size}; it is damaged")
    transform.SetFixedParameters(record.fixed.tolist())
    transform.SetParameters(record.parameters.tolist())
    matrix = np.eye(4)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for axis, unit in enumerate(np.eye(3)):
        matrix[:3, axis] = np.array(transform.TransformPoint(unit.tolist())) - matrix[:3, 3]
    return matrix


def _field_of_nifti(path: Path) -> DisplacementField:
    """(X, Y, Z, 1, 3).  ITK turns the vectors of one of NIfTI's two intents from RAS, and those of the other not."""
    code, _, _, shape = intent_of(path)
    if shape[3:] != (1, 3):
        raise InputError(f"a displacement image must be 3-D with 3 components a voxel, its size is {shape}")
    image = read_vectors(path)
    turned = image.vectors * np.diag(RAS_LPS)[:3].astype(np.float32) if code == DISPLACEMENTS else image.vectors
    return DisplacementField(image.geometry, turned)


def _grid_of(image: Any) -> Geometry:
    return Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def _field_of(image: Any) -> DisplacementField:
    import SimpleITK as sitk

    dimension, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if dimension != 3 or components != 3:
        raise InputError(
            f"a displacement image must be 3-D with 3 components a voxel, got {dimension}-D with {components}"
        )
    return DisplacementField(_grid_of(image), sitk.GetArrayFromImage(image).astype(np.float32))


def _composite(parts: Sequence[Part]) -> Any:
    """The SimpleITK transform of `parts`."""
    import SimpleITK as sitk

    composite = sitk.CompositeTransform(3)
    for part in reversed(parts):  # ITK applies the one added last first
        if isinstance(part, Affine):
            composite.AddTransform(_affine(part.matrix))
        else:
            field = sitk.GetImageFromArray(part.displacement.astype(np.float64), isVector=True)
            composite.AddTransform(sitk.DisplacementFieldTransform(_placed(field, part.geometry)))
    return composite


def _affine(matrix: NDArray[np.float64]) -> Any:
    """The SimpleITK affine of a (4, 4) matrix."""
    import SimpleITK as sitk

    affine = sitk.AffineTransform(3)
    affine.SetMatrix(matrix[:3, :3].ravel().tolist())
    affine.SetTranslation(matrix[:3, 3].tolist())
    return affine


def _placed(image: Any, geometry: Geometry) -> Any:
    """The SimpleITK image with the grid of `geometry` set on it."""
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image
