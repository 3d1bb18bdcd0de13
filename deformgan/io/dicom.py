"""A folder of DICOM slices as one volume: one series, sorted along its normal, evenly spaced."""

from __future__ import annotations

import locale
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deformgan.errors import InputError

_POSITION, _DESCRIPTION = "0020|0032", "0008|103e"


def read_dicom(folder: Path, series: str | None) -> Any:
    """The SimpleITK image of a series; `series` names one by its UID where the folder has several.

    Raises InputError for a folder without DICOM, with several series, or with slices missing or unevenly spaced.
    """
    with _same_locale():
        return _read(folder, series)


@contextmanager
def _same_locale() -> Iterator[None]:
    """GDCM leaves the process in the C locale, in which Python takes text files for ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _read(folder: Path, series: str | None) -> Any:
    import SimpleITK as sitk

    known = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not known:
        raise InputError(f"{folder}: the folder holds no DICOM series; give a folder of slices or an image file")
    if series is None and len(known) > 1:
        listed = "; ".join(_described(folder, uid) for uid in known)
        raise InputError(f"{folder} holds {len(known)} series: {listed}; choose one as FOLDER:SERIES_UID")
    if series is not None and series not in known:
        raise InputError(f"{folder}: no series {series}; it holds {', '.join(known)}")
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series or known[0])
    if len(names) < 2:
        raise InputError(f"{folder}: the series has {len(names)} slice; expected a 3-D series of at least two")
    _check_gaps(folder, names)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{folder}: the series cannot be read: {' '.join(str(error).split())[-160:]}") from error


def _header(name: str) -> Any:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    reader.ReadImageInformation()
    return reader


def _described(folder: Path, uid: str) -> str:
    import SimpleITK as sitk

    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
    header = _header(names[0])
    text = header.GetMetaData(_DESCRIPTION).strip() if header.HasMetaDataKey(_DESCRIPTION) else "no description"
    return f"{uid} ({len(names)} slices, {text})"


def _check_gaps(folder: Path, names: tuple[str, ...]) -> None:
    """Slices must follow each other at one distance along the normal of the first."""
    headers = [_header(name) for name in names]
    if any(not h.HasMetaDataKey(_POSITION) for h in headers):
        raise InputError(f"{folder}: a slice has no Image Position (0020,0032); the slices cannot be put in order")
    normal = np.array(headers[0].GetDirection()).reshape(3, 3)[:, 2]
    along = np.array([normal @ np.array(h.GetMetaData(_POSITION).split("\\"), float) for h in headers])
    gaps = np.abs(np.diff(along))
    usual = float(np.median(gaps))
    odd = np.flatnonzero(np.abs(gaps - usual) > 0.02 * usual + 0.01)
    if odd.size:
        k = int(odd[0])
        missing = round(float(gaps[k]) / usual) - 1 if usual > 0 else 0
        what = f"{missing} slices seem to be missing" if missing > 0 else "the spacing is uneven"
        raise InputError(
            f"{folder}: slices {k + 1} and {k + 2} lie {gaps[k]:.2f} mm apart, the others {usual:.2f} mm ({what}); "
            "complete the series or resample it first"
        )
