"""Transforms as files: ITK HDF5 composites out; ITK .h5, .tfm, .txt, .mat and displacement images in.

Points are LPS mm, x y z, and a transform maps a fixed point to the moving point, as in ITK.  `parts` are listed in the
order in which they are applied; an ITK composite lists them the other way round, and that is dealt with here alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError, OutputError
from deformgan.io.geometry import Geometry

_IMAGE_ENDINGS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
_HDF5_ENDINGS = (".h5", ".hdf5")


@dataclass(frozen=True, eq=False)
class Affine:
    """x -> M x: `matrix` (4, 4) float64, LPS mm -> LPS mm.  Raises InputError unless it can be inverted."""

    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.array_equal(matrix[3], (0, 0, 0, 1)):
            raise InputError(f"an affine must be a finite (4, 4) matrix that ends in 0 0 0 1, got {matrix.tolist()}")
        if np.linalg.matrix_rank(matrix[:3, :3]) < 3:
            raise InputError(f"the affine is singular, no inverse exists: {matrix.tolist()}")
        object.__setattr__(self, "matrix", matrix)


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """x -> x + u(x): `displacement` (Z, Y, X, 3) float32, mm, x y z LPS, on the lattice `geometry`.

    Trilinear between the nodes; within half a voxel outside the lattice the border value holds, beyond it u = 0, as in
    ITK.  Raises InputError for another shape or a value that is not finite.
    """

    geometry: Geometry
    displacement: NDArray[np.float32]

    def __post_init__(self) -> None:
        u = np.ascontiguousarray(self.displacement, dtype=np.float32)
        if u.shape != (*self.geometry.shape, 3):
            raise InputError(f"the displacement must be {(*self.geometry.shape, 3)} as its grid, got {u.shape}")
        if not np.isfinite(u).all():
            raise InputError("the displacement field has values that are not finite")
        object.__setattr__(self, "displacement", u)


Part = Affine | DisplacementField


class HasParts(Protocol):
    """What can be written: `deformgan.spatial.transform.Transform`, or anything with parts in order of application."""

    @property
    def parts(self) -> Sequence[Part]: ...


def write_transform(transform: HasParts, path: str | os.PathLike[str]) -> None:
    """Write one ITK composite (.h5), fixed point -> moving point, as SimpleITK.ReadTransform and ANTs take it.

    Matrices are float64, displacements float32.  The file appears whole or not at all.
    Raises OutputError when it cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in _HDF5_ENDINGS:
        raise OutputError(f"a transform is written as .h5, got {target.name!r}; name it transform.h5")
    scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        scratch.write_bytes(_composite_bytes(transform.parts))
        os.replace(scratch, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        # Where the folder itself is missing or closed to us, so is the scratch file.
        if target.parent.is_dir() and os.access(target.parent, os.W_OK):
            scratch.unlink(missing_ok=True)


def read_transform(path: str | os.PathLike[str]) -> tuple[Part, ...]:
    """The parts of a transform file, first to be applied first; `Transform.load` wraps them.

    ITK .h5, .tfm, .txt, .mat: linear transforms of any kind become an `Affine`, displacement fields stay, composites
    are flattened.  NIfTI, MHA, NRRD: a vector image is a displacement field, LPS mm (ITK's convention).  Raises
    InputError for a file that is missing, damaged, not 3-D or of another kind of transform.
    """
    import SimpleITK as sitk

    source = Path(path)
    if not source.is_file():
        raise InputError(f"no transform file at {source}; check the path")
    try:
        if source.name.lower().endswith(_IMAGE_ENDINGS):
            return (_field_of(sitk.ReadImage(str(source))),)
        if source.suffix.lower() in _HDF5_ENDINGS:
            _check_hdf5(source)
        return tuple(_parts_of(sitk.ReadTransform(str(source))))
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    except (OSError, RuntimeError) as error:
        size = source.stat().st_size
        raise InputError(
            f"cannot read a transform from {source} ({size} bytes); it is damaged or not ITK's .h5, .tfm, .txt, .mat "
            "or a displacement image"
        ) from error


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


def _field_of(image: Any) -> DisplacementField:
    import SimpleITK as sitk

    dimension, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if dimension != 3 or components != 3:
        raise InputError(
            f"a displacement image must be 3-D with 3 components a voxel, got {dimension}-D with {components}"
        )
    grid = Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return DisplacementField(grid, sitk.GetArrayFromImage(image).astype(np.float32))


def _composite(parts: Sequence[Part]) -> Any:
    """The SimpleITK transform of `parts`."""
    import SimpleITK as sitk

    composite = sitk.CompositeTransform(3)
    for part in reversed(parts):  # ITK applies the one added last first
        if isinstance(part, Affine):
            affine = sitk.AffineTransform(3)
            affine.SetMatrix(part.matrix[:3, :3].ravel().tolist())
            affine.SetTranslation(part.matrix[:3, 3].tolist())
            composite.AddTransform(affine)
        else:
            field = sitk.GetImageFromArray(part.displacement.astype(np.float64), isVector=True)
            composite.AddTransform(sitk.DisplacementFieldTransform(_placed(field, part.geometry)))
    return composite


def _placed(image: Any, geometry: Geometry) -> Any:
    """The SimpleITK image with the grid of `geometry` set on it."""
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image
