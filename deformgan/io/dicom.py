"""A folder of DICOM slices as one volume: one series, sorted along its normal, evenly spaced."""

from __future__ import annotations

import locale
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deformgan.errors import InputError
from deformgan.io.dicom_elements import check_elements
from deformgan.io.itk_header import complaint

_POSITION, _SPACING, _DESCRIPTION = "0020|0032", "0028|0030", "0008|103e"
_SYNTAX = re.compile(rb"\x02\x00\x10\x00UI..1\.2\.840\.10008\.1\.2(?:\.[12])?\x00?[\x02\x08]", re.DOTALL)
SEARCHED, SHOWN = 200, 3  # folders in a folder without slices; those that are named
_HEAD = 4096  # bytes in which the file's own group of tags ends


def read_dicom(folder: Path, series: str | None) -> Any:
    """The SimpleITK image of a series; `series` names one by its UID where the folder has several.

    Raises InputError for a folder without DICOM, with several series, or with slices missing or unevenly spaced.
    """
    with _same_locale(), _silent():
        return _read(folder, series)


@contextmanager
def _same_locale() -> Iterator[None]:
    """GDCM leaves the process in the C locale, in which Python takes text files for ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


@contextmanager
def _silent() -> Iterator[None]:
    """ITK's warnings stay off the terminal; what matters is checked here."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _read(folder: Path, series: str | None) -> Any:
    import SimpleITK as sitk

    for path in sorted(p for p in folder.iterdir() if p.is_file() and _looks_like_dicom(p) and p.stat().st_size):
        check_elements(path)
    try:
        known = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        _check_all_known(folder, known)
    except RuntimeError as error:
        raise InputError(f"{folder}: a file of it cannot be read as DICOM: {complaint(error)}") from error
    if not known:
        raise InputError(f"{folder}: the folder holds no DICOM series; {_where_slices_lie(folder)}")
    if series is None and len(known) > 1:
        listed = "; ".join(_described(folder, uid) for uid in known)
        raise InputError(f"{folder} holds {len(known)} series: {listed}; choose one as FOLDER:SERIES_UID")
    if series is not None and series not in known:
        raise InputError(f"{folder}: no series {series}; it holds {', '.join(known)}")
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series or known[0])
    if len(names) < 2:
        raise InputError(f"{folder}: the series has {len(names)} slice; expected a 3-D series of at least two")
    headers = [_header(folder, name) for name in names]
    _check_gaps(folder, headers)
    if len(sizes := sorted({h.GetSize() for h in headers})) > 1:
        raise InputError(f"{folder}: its slices differ in size: {sizes[0]} and {sizes[1]}; are they of one series?")
    for name, header in zip(names, headers, strict=True):
        _check_pixels(Path(name), header)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{folder}: the series cannot be read: {complaint(error)}") from error


def _where_slices_lie(folder: Path) -> str:
    """What to give in its place: exports keep a folder a series, often one or two below."""
    found: list[str] = []
    for place, below, names in islice(os.walk(folder), SEARCHED):
        below.sort()
        found += [place] if names and _looks_like_dicom(Path(place) / min(names)) else []
        if len(found) == SHOWN:
            break
    return f"folders in it do: give one of {', '.join(found)}" if found else "give a folder of slices or an image file"


def _header(folder: Path, name: str) -> Any:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{folder}: {Path(name).name} cannot be read: {complaint(error)}") from error
    return reader


def _check_all_known(folder: Path, known: Sequence[str]) -> None:
    """GDCM passes over what it cannot read: a slice that is cut off must not go missing without a word."""
    import SimpleITK as sitk

    listed = {
        Path(name).name for uid in known for name in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
    }
    lost = [p for p in sorted(folder.iterdir()) if p.is_file() and p.name not in listed and _looks_like_dicom(p)]
    if lost:
        raise InputError(
            f"{folder}: {len(lost)} of its files cannot be read as DICOM, the first is {lost[0].name}; fetch them "
            "again, or take them out of the folder"
        )


def _looks_like_dicom(path: Path) -> bool:
    with open(path, "rb") as stream:
        head = stream.read(132)
    return path.name.upper() != "DICOMDIR" and (head[128:] == b"DICM" or (not head and path.suffix.lower() == ".dcm"))


def _check_pixels(path: Path, header: Any) -> None:
    """An uncompressed slice is as long as its rows and columns say."""
    import SimpleITK as sitk

    with open(path, "rb") as stream:
        plain = _SYNTAX.search(stream.read(_HEAD)) is not None
    bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(header.GetPixelID()))
    values = math.prod(header.GetSize()) * header.GetNumberOfComponents()
    need = values * int(bits[1] if bits else 8) // 8
    have = path.stat().st_size
    if plain and need > have:
        raise InputError(
            f"{path}: its header promises {need} bytes of pixels for size {header.GetSize()}, the file has {have}; it "
            "is damaged or cut off"
        )


def _described(folder: Path, uid: str) -> str:
    import SimpleITK as sitk

    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
    header = _header(folder, names[0])
    text = header.GetMetaData(_DESCRIPTION).strip() if header.HasMetaDataKey(_DESCRIPTION) else "no description"
    return f"{uid} ({len(names)} slices, {text})"


def _check_gaps(folder: Path, headers: Sequence[Any]) -> None:
    """Slices must follow each other at one distance along the normal of the first."""
    if any(min(_numbers(h, _SPACING), default=0.0) <= 0 for h in headers):
        raise InputError(f"{folder}: a slice has no Pixel Spacing (0028,0030) above 0; the image has no scale")
    positions = [_numbers(h, _POSITION) for h in headers]
    if any(len(p) != 3 for p in positions):
        raise InputError(f"{folder}: a slice has no Image Position (0020,0032); the slices cannot be put in order")
    normal = np.array(headers[0].GetDirection()).reshape(3, 3)[:, 2]
    along = np.array(positions) @ normal
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


def _numbers(header: Any, tag: str) -> list[float]:
    """Of a tag with several; none where it is missing or holds something else."""
    try:
        values = [float(word) for word in header.GetMetaData(tag).split("\\")] if header.HasMetaDataKey(tag) else []
    except ValueError:
        return []
    return values if np.isfinite(values).all() else []
