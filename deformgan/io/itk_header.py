"""The header of an image that ITK reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deformgan.errors import InputError

ITK_ENDINGS = (".mha", ".mhd", ".nrrd", ".nhdr")


def itk_header(path: Path) -> Any:
    """SimpleITK's reader with the header read, the voxels not yet.  Raises InputError."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read as an image: {' '.join(str(error).split())[-160:]}") from error
    return reader
