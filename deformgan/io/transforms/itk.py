"""ITK's transform files: HDF5 composites, .tfm, .txt and .mat, and displacement images in NIfTI, MHA and NRRD.

`parts` are listed in the order in which they are applied; an ITK composite lists them the other way round, and that is
dealt with here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError, OutputError
from deformgan.io.geometry import Geometry
from deformgan.io.transforms.parts import Affine, DisplacementField, Part, Writable, one_field, one_matrix
from deformgan.io.transforms.splines import sampled_spline

IMAGE_ENDINGS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
HDF5_ENDINGS = (".h5", ".hdf5")
_MATRIX_ENDINGS = (".tfm", ".txt", ".mat")


def read_itk(source: Path) -> tuple[Part, ...]:
    """The parts of a file that ITK, ANTs, greedy (its warps), SimpleITK, 3D Slicer or deformgan wrote.

    Linear transforms of any kind become an `Affine`, displacement fields stay, B-splines are sampled
    (`io.transforms.splines`), composites are flattened.  Vectors of an image are LPS mm.  Raises InputError, OSError or
    RuntimeError.
    """
    import SimpleITK as sitk

    if source.name.lower().endswith(IMAGE_ENDINGS):
        return (_field_of(sitk.ReadImage(str(source))),)
    if source.suffix.lower() in HDF5_ENDINGS:
        _check_hdf5(source)
    return tuple(_parts_of(sitk.ReadTransform(str(source))))


def write_itk(transform: Writable, scratch: Path, fixed: Geometry | None) -> None:
    """Write by the ending: .h5 (any chain), .tfm, .txt, .mat (a matrix), or an image (one field, see `one_field`).

    Matrices are float64, displacements float32.  Raises OutputError.
    """
    import SimpleITK as sitk

    ending = scratch.suffix.lower()
    if ending in HDF5_ENDINGS:
        scratch.write_bytes(_composite_bytes(transform.parts))
    elif ending in _MATRIX_ENDINGS:
        sitk.WriteTransform(_affine(one_matrix(transform, f"ITK's {ending}")), str(scratch))
    elif scratch.name.lower().endswith((".nii", ".nii.gz", ".mha", ".nrrd")):
        part = one_field(transform, "a displacement image", fixed)
        image = _placed(sitk.GetImageFromArray(part.displacement, isVector=True), part.geometry)
        sitk.WriteImage(image, str(scratch), useCompression=ending != ".nii")
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


def _check_hdf5(path: Path) -> None:
    """Open the file as HDF5 first: on a damaged one ITK would fill the terminal.  Raises OSError or InputError."""
    import h5py

    with h5py.File(path, "r") as file:
        if "TransformGroup" not in file:
            raise InputError("an HDF5 file without a transform; expected one that ITK or deformgan wrote")


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


def _parts_of(transform: Any) -> list[Part]:
    """A SimpleITK transform as parts in the order of application."""
    import SimpleITK as sitk

    if transform.GetDimension() != 3:
        raise InputError(f"the transform is {transform.GetDimension()}-D; expected 3-D")
    kind = transform.GetTransformEnum()
    if kind == sitk.sitkComposite:
        composite = sitk.CompositeTransform(transform)
        inner = [composite.GetNthTransform(i) for i in reversed(range(composite.GetNumberOfTransforms()))]
        return [part for one in inner for part in _parts_of(one)]
    if kind == sitk.sitkDisplacementField:
        return [_field_of(sitk.DisplacementFieldTransform(transform).GetDisplacementField())]
    if kind == sitk.sitkBSplineTransform:
        return [_spline_of(sitk.BSplineTransform(transform))]
    if not transform.IsLinear():
        raise InputError(f"a {transform.GetName()} is not supported; convert it to a displacement field")
    return [Affine(_matrix_of(transform))]


def _matrix_of(transform: Any) -> NDArray[np.float64]:
    """(4, 4) of a linear SimpleITK transform of any kind: what it does to the origin and to the three unit vectors."""
    matrix = np.eye(4)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for axis, unit in enumerate(np.eye(3)):
        matrix[:3, axis] = np.array(transform.TransformPoint(unit.tolist())) - matrix[:3, 3]
    return matrix


def _spline_of(spline: Any) -> DisplacementField:
    import SimpleITK as sitk

    images = spline.GetCoefficientImages()
    coefficients = np.stack([sitk.GetArrayFromImage(image) for image in images], -1)
    return sampled_spline(coefficients, _grid_of(images[0]), order=spline.GetOrder())


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
