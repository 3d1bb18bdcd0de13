"""Manifests of MR -> CT synthesis: which files show which person.

CSV with a header line, or JSON with a list of objects.  Columns: mr, ct (files, seen from the manifest's folder; one of
them may be missing, where nothing asks for pairs); and, where wanted, transform (a file that maps points of the MR to
points of the CT; otherwise the two lie on each other in world coordinates), mask (on the MR's grid, not 0 where both
show something), labels (of structures), labels_on (mr or ct: the image that they belong to), subject (by default the
first file's name; needed for a DICOM folder) and split (train, validation or test).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from deformgan.errors import InputError
from deformgan.io.pairs import table_rows
from deformgan.io.recorded import is_dicom
from deformgan.io.whole_file import whole_file

FILES = ("mr", "ct", "transform", "mask", "labels")
KINDS = ("mr", "ct")
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class SubjectFiles:
    """Files of one person, absolute, "" where there is none.  split: "" = to be drawn."""

    mr: str = ""
    ct: str = ""
    transform: str = ""
    mask: str = ""
    labels: str = ""
    labels_on: str = ""
    subject: str = ""
    split: str = ""


COLUMNS = tuple(f.name for f in fields(SubjectFiles))


def read_subjects(path: str | os.PathLike[str]) -> list[SubjectFiles]:
    """All rows, in the file's order.  Raises InputError naming file, row and column; every file must be there."""
    subjects = []
    for where, values in table_rows(path, COLUMNS, FILES):
        if not (values["mr"] or values["ct"]):
            raise InputError(f"{where}: mr and ct are both empty; give one at least")
        if values["split"] not in ("", *SPLITS):
            raise InputError(f"{where}: split must be {', '.join(SPLITS)} or empty, got {values['split']!r}")
        on = values["labels_on"]
        if on and (on not in KINDS or not values["labels"] or not values[on]):
            raise InputError(f"{where}: labels_on is {on!r}; it must be mr or ct, and that image and labels be given")
        first = values["mr"] or values["ct"]
        if not values["subject"] and is_dicom(first):
            raise InputError(f"{where}: subject is empty; the name of a DICOM folder may be a patient's, so give one")
        name = values["subject"] or Path(first).name.split(".")[0]
        subjects.append(SubjectFiles(**{**values, "subject": name}))
    return subjects


def write_subjects(path: Path, subjects: Sequence[SubjectFiles]) -> None:
    """A CSV whose files are named as seen from its folder.  Raises OutputError."""
    folder = path.resolve().parent
    with whole_file(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.DictWriter(stream, COLUMNS)
        rows.writeheader()
        for subject in subjects:
            values = asdict(subject)
            rows.writerow(values | {name: os.path.relpath(values[name], folder) for name in FILES if values[name]})
