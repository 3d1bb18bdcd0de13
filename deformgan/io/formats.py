"""Files <-> Volume: NIfTI, MHA, NRRD, MGH and DICOM folders in; NIfTI, MHA and NRRD out."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deformgan.errors import InputError, OutputError
from deformgan.io.dicom import read_dicom
from deformgan.io.geometry import Geometry
from deformgan.io.gzipped import new_file
from deformgan.io.itk_header import ITK_ENDINGS, complaint, itk_image
from deformgan.io.nifti import NIFTI_ENDINGS, read_nifti
from deformgan.io.volume import Volume, checked_image, orthonormal
from deformgan.io.whole_file import whole_file

Kind = Literal["image", "labels", "mask"]

_WRITTEN = (".nii", ".nii.gz", ".mha", ".nrrd")
_SERIES = re.compile(r"^(?P<folder>.+):(?P<uid>[0-9.]+)$")


def read_volume(path: str | os.PathLike[str], *, volume: int | None = None, kind: Kind = "image") -> Volume:
    """The image (float32), labels or mask (their integer type) in a file or a DICOM folder (FOLDER or FOLDER:UID).

    volume: which of a 4-D file.  Raises InputError with one line for anything that cannot be used.

    >>> import deformgan
    >>> ct = deformgan.read_volume("data/sts/STS_051_CT.nii.gz")
    >>> tuple(ct.tensor.shape) == ct.geometry.shape, ct.tensor.dtype
    (True, torch.float32)
    """
    import torch

    array, geometry, notes = _read(path, volume)
    if kind == "image":
        image, more = checked_image(array, str(path))
        return Volume(torch.from_numpy(image), geometry, (*notes, *more))
    labels = _whole_numbers(array, str(path))
    if kind == "mask" and not labels.any():
        raise InputError(f"{path}: the mask is empty")
    return Volume(torch.from_numpy(labels), geometry, tuple(notes))


def source_exists(source: str) -> bool:
    """Whether a file, a folder, or the folder of a DICOM series (FOLDER:UID) is there."""
    match = _SERIES.match(source)
    try:
        return Path(source).exists() or (match is not None and Path(match["folder"]).is_dir())
    except (OSError, ValueError):  # a name that no file can have
        return False


def source_files(source: str | os.PathLike[str]) -> list[Path]:
    """The file itself, or all files of a folder (FOLDER or FOLDER:UID) in the order of their names."""
    text = str(source)
    place = Path(match["folder"]) if (match := _SERIES.match(text)) and not Path(text).exists() else Path(text)
    return sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]


def write_volume(volume: Volume, path: str | os.PathLike[str], *, dtype: Any = None) -> None:
    """Write NIfTI, MHA or NRRD by the name's ending; the file appears whole or not at all.  Raises OutputError.

    >>> import deformgan, tempfile
    >>> ct = deformgan.read_volume("data/sts/STS_051_CT.nii.gz")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     deformgan.write_volume(ct, f"{folder}/ct.mha", dtype="int16")
    ...     deformgan.read_volume(f"{folder}/ct.mha").geometry.almost_equal(ct.geometry)
    True
    """
    target = Path(path)
    ending = _ending(target, _WRITTEN)
    if ending is None:
        raise OutputError(f"{target}: an image is written as {', '.join(_WRITTEN)}")
    array = volume.numpy() if dtype is None else volume.numpy().astype(dtype)
    with whole_file(target) as scratch:
        try:
            _write(array, volume, scratch, ending)
        except RuntimeError as error:
            raise OutputError(f"{target}: cannot be written: {complaint(error)}") from error


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 in hex of a file, or of a folder's files in the order of their names."""
    digest = hashlib.sha256()
    for name in source_files(path):
        with open(name, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _read(source: str | os.PathLike[str], volume: int | None) -> tuple[np.ndarray, Geometry, list[str]]:
    """(array (Z, Y, X), geometry, notes)."""
    path, series = Path(source), None
    if not path.exists() and (match := _SERIES.match(str(source))):
        path, series = Path(match["folder"]), match["uid"]
    if not path.exists():
        raise InputError(f"{source}: no such file or folder")
    if path.is_dir():
        return _from_itk(read_dicom(path, series), str(path), None)
    ending = _ending(path, NIFTI_ENDINGS + ITK_ENDINGS)
    if ending in NIFTI_ENDINGS:
        array, matrix, notes = read_nifti(path, volume)
        geometry, more = orthonormal(matrix, array.shape, str(path))
        return array.T, geometry, notes + more
    if ending in ITK_ENDINGS:
        return _from_itk(itk_image(path), str(path), volume)
    raise InputError(f"{path}: unknown ending; expected {', '.join(NIFTI_ENDINGS + ITK_ENDINGS)} or a DICOM folder")


def _ending(path: Path, endings: tuple[str, ...]) -> str | None:
    name = path.name.lower()
    return max((e for e in endings if name.endswith(e)), key=len, default=None)


def _from_itk(image: Any, name: str, volume: int | None) -> tuple[np.ndarray, Geometry, list[str]]:
    import SimpleITK as sitk

    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{name} holds colours or vectors; expected one value a voxel")
    if image.GetDimension() == 4:
        count = image.GetSize()[3]
        if count > 1 and (volume is None or not 0 <= volume < count):
            raise InputError(f"{name} is 4-D; say which volume to take: --volume K, K from 0 to {count - 1}")
        image = image[:, :, :, volume or 0]
    if image.GetDimension() != 3:
        raise InputError(f"{name} is {image.GetDimension()}-D; expected a 3-D image")
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    geometry, notes = orthonormal(matrix, image.GetSize(), name)
    return sitk.GetArrayFromImage(image), geometry, notes


def _whole_numbers(array: np.ndarray, name: str) -> np.ndarray:
    """Labels in an integer type that torch has and that holds them."""
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.rint(array)).any():
            raise InputError(f"{name}: expected whole-number labels, found fractions or values that are not finite")
        _check_range(array, np.int32, name)
        array = array.astype(np.int32)
    if array.dtype.kind not in "bui":
        raise InputError(f"{name}: expected whole-number labels, found {array.dtype}")
    if array.dtype.kind == "u":
        _check_range(array, np.int64, name)
    kept = {"b": "uint8", "u": {1: "uint8", 2: "int32"}.get(array.dtype.itemsize, "int64")}
    return np.ascontiguousarray(array, dtype=kept.get(array.dtype.kind, array.dtype.newbyteorder("=")))


def _check_range(array: np.ndarray, dtype: Any, name: str) -> None:
    """Raise InputError for labels that the type would turn into others."""
    limits = np.iinfo(dtype)
    if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
        raise InputError(f"{name}: has labels up to {array.max():g}; give them numbers below {limits.max}")


def _write(array: np.ndarray, volume: Volume, scratch: Path, ending: str) -> None:
    import torch

    plain = Volume(torch.from_numpy(np.ascontiguousarray(array)), volume.geometry)
    if ending in NIFTI_ENDINGS:
        with new_file(scratch, packed=ending == ".nii.gz") as stream:
            stream.write(plain.to_nibabel().to_bytes())
        return
    import SimpleITK as sitk

    sitk.WriteImage(plain.to_simpleitk(), str(scratch), useCompression=True)
