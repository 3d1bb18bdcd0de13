"""Volume: a tensor and where it lies; from and to the image types of nibabel, SimpleITK, itk and MONAI."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry

if TYPE_CHECKING:
    import torch

RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # the only flip between RAS (nibabel, MONAI) and LPS (ITK, here)


@dataclass(frozen=True, eq=False)
class Volume:
    """`tensor` (Z, Y, X) on the grid `geometry`; `notes`: what was repaired or is odd, a sentence each.

    >>> import torch
    >>> from deformgan import Geometry, Volume
    >>> volume = Volume(torch.rand(4, 5, 6), Geometry((6, 5, 4), spacing=(1.0, 1.0, 2.0)))
    >>> volume.to_simpleitk().GetSpacing()                 # to_nibabel, to_itk and to_metatensor as well
    (1.0, 1.0, 2.0)
    """

    tensor: torch.Tensor
    geometry: Geometry
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if tuple(self.tensor.shape) != self.geometry.shape:
            raise InputError(f"a tensor {tuple(self.tensor.shape)} does not fill a grid of shape {self.geometry.shape}")

    def numpy(self) -> np.ndarray:
        """(Z, Y, X) array that shares memory with a tensor on the CPU."""
        array: np.ndarray = self.tensor.detach().cpu().numpy()
        return array

    def to_nibabel(self) -> Any:
        """nibabel.Nifti1Image, axes x, y, z, RAS mm; qform and sform equal."""
        import nibabel

        image = nibabel.Nifti1Image(self.numpy().transpose(2, 1, 0), RAS_LPS @ self.geometry.matrix)
        image.set_qform(image.affine, code=1)
        image.set_sform(image.affine, code=1)
        image.header.set_xyzt_units("mm")
        return image

    def to_simpleitk(self) -> Any:
        """SimpleITK.Image."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(self.numpy())
        image.SetSpacing(self.geometry.spacing)
        image.SetOrigin(self.geometry.origin)
        image.SetDirection(self.geometry.direction)
        return image

    def to_itk(self) -> Any:
        """itk.Image."""
        import itk

        image = itk.image_from_array(np.ascontiguousarray(self.numpy()))
        image.SetSpacing(self.geometry.spacing)
        image.SetOrigin(self.geometry.origin)
        image.SetDirection(np.array(self.geometry.direction).reshape(3, 3))
        return image

    def to_metatensor(self) -> Any:
        """monai.data.MetaTensor (1, X, Y, Z) with its RAS affine."""
        import torch
        from monai.data import MetaTensor

        return MetaTensor(self.tensor.permute(2, 1, 0)[None], affine=torch.from_numpy(RAS_LPS @ self.geometry.matrix))


def as_volume(source: Any) -> Volume:
    """A Volume from a path, a Volume, a nibabel, SimpleITK or itk image, a MetaTensor, or (tensor, Geometry).

    A tensor or array with its Geometry is (Z, Y, X); a MetaTensor is (X, Y, Z) or (1, X, Y, Z).  Intensities become
    float32, integer labels keep their type where the source is a Volume or a tensor.  Raises InputError.

    >>> import numpy as np, nibabel, deformgan
    >>> affine = np.diag([-2.0, -2.0, 3.0, 1.0])            # RAS, as nibabel has it
    >>> image = nibabel.Nifti1Image(np.random.default_rng(0).random((6, 5, 4), np.float32), affine)
    >>> volume = deformgan.as_volume(image)
    >>> volume.geometry.spacing, volume.geometry.direction[:3], tuple(volume.tensor.shape)
    ((2.0, 2.0, 3.0), (1.0, 0.0, 0.0), (4, 5, 6))
    """
    if isinstance(source, Volume):
        return source
    if isinstance(source, str | os.PathLike):
        from deformgan.io.formats import read_volume

        return read_volume(source)
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[1], Geometry):
        return Volume(_tensor(source[0]), source[1])
    home = type(source).__module__.split(".")[0]
    if home == "nibabel":
        return from_array_ras(np.asanyarray(source.dataobj), source.affine, "the nibabel image")
    if home == "SimpleITK":
        return _from_simpleitk(source)
    if home == "itk":
        return _from_itk(source)
    if home == "monai":
        array = source.detach().cpu().numpy()
        affine = np.asarray(source.affine, dtype=np.float64)
        return from_array_ras(array[0] if array.ndim == 4 else array, affine, "the MetaTensor")
    raise InputError(
        f"an image must be a path, a Volume, a nibabel, SimpleITK or itk image, a MetaTensor or (tensor, Geometry); "
        f"got {type(source).__name__}"
    )


def from_array_ras(array: np.ndarray, affine: np.ndarray, name: str) -> Volume:
    """Array (X, Y, Z) and its RAS affine (4, 4) -> checked, float32 Volume in LPS."""
    geometry, notes = orthonormal(RAS_LPS @ np.asarray(affine, np.float64), array.shape, name)
    image, repairs = checked_image(array.T, name)
    return Volume(_tensor(image), geometry, (*notes, *repairs))


def orthonormal(matrix: np.ndarray, size: tuple[int, ...], name: str) -> tuple[Geometry, list[str]]:
    """The grid of index -> LPS `matrix`; a sheared one becomes the nearest grid with right angles, with a note."""
    if len(size) != 3 or min(size) < 2:
        raise InputError(f"{name} has size {size}: expected a 3-D image of at least two voxels along each axis")
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
        raise InputError(f"{name}: its affine is singular or not finite; repair the header's orientation")
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    cosines = matrix[:3, :3] / spacing
    left, _, right = np.linalg.svd(cosines)
    off = np.abs(left @ right - cosines).max()
    if off < 1e-6:
        return Geometry.from_matrix(matrix, size), []
    repaired = np.eye(4)
    repaired[:3, :3] = left @ right * spacing
    middle = np.append((np.array(size) - 1) / 2, 1.0)
    repaired[:3, 3] = (matrix @ middle)[:3] - repaired[:3, :3] @ middle[:3]
    notes = [] if off < 1e-3 else [f"{name}: its axes are not at right angles; the nearest orthogonal grid is used"]
    return Geometry.from_matrix(repaired, size), notes


def checked_image(array: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """(Z, Y, X) as contiguous float32, every value finite, and notes.  Raises InputError for nothing to register."""
    if array.dtype.names or array.dtype.kind not in "buif":
        raise InputError(f"{name} holds {array.dtype} values (colour or complex); convert it to one grey value a voxel")
    with np.errstate(over="ignore"):
        image = np.ascontiguousarray(array, dtype=np.float32)
    low, high = float(image.min()), float(image.max())
    notes = []
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = np.isfinite(image)
        if not finite.any():
            raise InputError(f"{name} has no finite voxel")
        low, high = float(image[finite].min()), float(image[finite].max())
        image = np.where(finite, image, np.float32(low))
        notes.append(f"{name}: {int((~finite).sum())} voxels were not finite; they count as {low:g}")
    if low == high:
        raise InputError(f"{name} is constant ({low:g} everywhere): there is nothing to align")
    return image, notes


def _tensor(array: Any) -> torch.Tensor:
    import torch

    if isinstance(array, torch.Tensor):
        return array
    array = np.asarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _from_simpleitk(image: Any) -> Volume:
    import SimpleITK as sitk

    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError("the SimpleITK image must be 3-D with one value a voxel")
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    geometry, notes = orthonormal(matrix, image.GetSize(), "the SimpleITK image")
    array, repairs = checked_image(sitk.GetArrayFromImage(image), "the SimpleITK image")
    return Volume(_tensor(array), geometry, (*notes, *repairs))


def _from_itk(image: Any) -> Volume:
    import itk

    if image.GetImageDimension() != 3:
        raise InputError("the itk image must be 3-D")
    matrix = np.eye(4)
    matrix[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    geometry, notes = orthonormal(matrix, tuple(image.GetLargestPossibleRegion().GetSize()), "the itk image")
    array, repairs = checked_image(itk.array_from_image(image), "the itk image")
    return Volume(_tensor(array), geometry, (*notes, *repairs))
