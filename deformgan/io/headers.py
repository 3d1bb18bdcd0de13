"""What an image file holds, told from its header: one volume, a series, vectors or symmetric tensors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deformgan.errors import InputError
from deformgan.io.itk_header import ITK_ENDINGS, itk_header
from deformgan.io.nifti import NIFTI_ENDINGS, open_nifti, readable

ImageKind = Literal["scalars", "series", "vectors", "tensors"]

COMPONENTS = {"vectors": 3, "tensors": 6}
VECTORS, TENSORS, DISPLACEMENTS = 1007, 1005, 1006  # NIfTI's intents; tensors are symmetric matrices
_LABELS = 1002


@dataclass(frozen=True)
class Contents:
    """The kind of image, the type of its values (float32 where the header scales them), how many volumes a series has.

    labels: whether the header says that the values are labels.
    """

    kind: ImageKind
    dtype: np.dtype[Any]
    volumes: int = 1
    labels: bool = False


def read_contents(path: str | os.PathLike[str]) -> Contents:
    """Read the header alone; what cannot be told (a DICOM folder) counts as one volume.  Raises InputError."""
    source = Path(path)
    name = source.name.lower()
    if not source.is_file() or source.stat().st_size == 0:
        return Contents("scalars", np.dtype(np.float32))  # whoever reads it says what is wrong
    if name.endswith(NIFTI_ENDINGS):
        return _of_nifti(source)
    return _of_itk(source) if name.endswith(ITK_ENDINGS) else Contents("scalars", np.dtype(np.float32))


def _of_nifti(path: Path) -> Contents:
    with readable(path):
        image = open_nifti(path)
        shape, intent = list(image.shape), int(image.header.get("intent_code", 0))
        slope, inter = (float(getattr(image.dataobj, name, ideal)) for name, ideal in (("slope", 1.0), ("inter", 0.0)))
        scaled = bool(np.isfinite([slope, inter]).all()) and slope != 0 and (slope, inter) != (1.0, 0.0)
        dtype = np.dtype(np.float32) if scaled else np.dtype(image.get_data_dtype()).newbyteorder("=")
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    components = shape[4] if len(shape) == 5 and shape[3] == 1 else None
    if len(shape) == 4 and intent in (VECTORS, DISPLACEMENTS, TENSORS):
        components = shape[3]
    if components is not None:
        return Contents(_kind_of(components, str(path)), dtype)
    if len(shape) == 4:
        return Contents("series", dtype, shape[3], intent == _LABELS)
    return Contents("scalars", dtype, labels=intent == _LABELS)


def _of_itk(path: Path) -> Contents:
    import SimpleITK as sitk

    reader = itk_header(path)
    components, name = reader.GetNumberOfComponents(), sitk.GetPixelIDValueAsString(reader.GetPixelID())
    bits = next((b for b in (8, 16, 32, 64) if f"{b}-bit" in name), 32)
    letter = "f" if "float" in name else "u" if "unsigned" in name else "i"
    dtype = np.dtype(f"{letter}{bits // 8}")
    if components > 1 and dtype == np.uint8:
        raise InputError(f"{path} holds colours; convert it to one grey value a voxel")
    if components > 1:
        return Contents(_kind_of(components, str(path)), dtype)
    if reader.GetDimension() == 4 and reader.GetSize()[3] > 1:
        return Contents("series", dtype, reader.GetSize()[3])
    return Contents("scalars", dtype)


def _kind_of(components: int, name: str) -> ImageKind:
    for kind, count in COMPONENTS.items():
        if components == count:
            return "vectors" if kind == "vectors" else "tensors"
    raise InputError(f"{name} holds {components} values a voxel; expected 1, vectors of 3 or symmetric tensors of 6")
