"""What is written down of where an image came from: of a DICOM folder no path, which often names the patient."""

from __future__ import annotations

from pathlib import Path

DICOM = "DICOM folder"


def is_dicom(source: str) -> bool:
    """Whether the source of an image is a folder, or one series of it (FOLDER:SERIES_UID)."""
    if not source:
        return False
    folder = source.rpartition(":")[0]
    return Path(source).is_dir() or bool(folder and not Path(source).exists() and Path(folder).is_dir())


def recorded_name(source: str) -> str:
    """The path of a file as it was given; DICOM for a folder of slices."""
    return DICOM if is_dicom(source) else source


def recorded_text(text: str, *sources: str) -> str:
    """`text` with the folders of DICOM sources taken out."""
    for source in filter(is_dicom, sources):
        folder = source if Path(source).is_dir() else source.rpartition(":")[0]
        for name in (source, folder, str(Path(folder))):
            text = text.replace(name, DICOM)
    return text
