"""Images that ITK reads: their header, and all of them, after the header was held against the file's size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from deformgan.errors import InputError
from deformgan.io.text_headers import WHOLE_FILE, check_text_header

ITK_ENDINGS = (".mha", ".mhd", ".nrrd", ".nhdr")


def itk_header(path: Path, *, unpack: bool = False) -> Any:
    """SimpleITK's reader with the header read, the voxels not yet; `unpack` as in `check_text_header`.

    Raises InputError.
    """
    import SimpleITK as sitk

    if path.name.lower().endswith(ITK_ENDINGS):
        check_text_header(path, unpack=unpack)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read as an image: {complaint(error)}; {WHOLE_FILE}") from error
    return reader


def itk_image(path: Path) -> Any:
    """The SimpleITK image.  Raises InputError, where its place in the world is not sound too."""
    reader = itk_header(path, unpack=True)
    axes = np.reshape(reader.GetDirection(), (reader.GetDimension(),) * 2) * np.array(reader.GetSpacing())
    if not (np.isfinite(axes).all() and np.isfinite(reader.GetOrigin()).all() and abs(np.linalg.det(axes)) > 1e-12):
        raise InputError(f"{path}: its affine is singular or not finite; repair the header's orientation")
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read as an image: {complaint(error)}; {WHOLE_FILE}") from error


def complaint(error: Exception) -> str:
    """What ITK says in the end, without where in its sources it says so."""
    said = re.sub(r"\w+ ?\(0x[0-9a-f]+\):?", "", " ".join(str(error).split()))
    said = re.sub(r"^ *_?nrrd\w+: ", "", re.split(r"ERROR:|\[nrrd\]", said)[-1])
    return said.strip()[-160:] or type(error).__name__
