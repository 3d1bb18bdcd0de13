"""The people on whom a study is measured, and the CT that an arm makes of each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deformgan.config import Plane
from deformgan.errors import InputError
from deformgan.evaluation.cohort import write_document
from deformgan.evaluation.synthesis import WINDOW, Row, slice_measures
from deformgan.io.formats import file_hash, read_volume, write_volume
from deformgan.io.subjects import SubjectFiles
from deformgan.io.volume import Volume, as_volume
from deformgan.registration.progress import Progress, Show
from deformgan.report.orientation import Orientation
from deformgan.study.arms import Arm
from deformgan.synthesis.intensity import window_of
from deformgan.synthesis.models import Config, load_model
from deformgan.synthesis.translate import translate
from deformgan.synthesis.volumes import listed

TEST, NOTE = "test", "made_by.json"
TOLERANCE_MM = 0.1  # between the corners of grids that are taken for one
TURNED: dict[Plane, int] = {"axial": 0, "coronal": 1, "sagittal": 2}  # the turned axis across which a plane lies
Source = Volume | str | os.PathLike[str]


@dataclass(frozen=True)
class Images:
    """The real images of one person on one grid; ct, mask: None where there is none."""

    subject: str
    mr: Volume
    ct: Volume | None
    mask: Volume | None


def held_out(config: Config) -> list[SubjectFiles]:
    """The people of the test split who have an MR.  Raises InputError for none."""
    people = [s for s in listed(config.data, config.seed) if s.split == "test" and s.mr]
    if not people:
        raise InputError(f"{config.data.manifest}: no row with an MR has the split test; a study measures those people")
    for person in people:
        if Path(person.subject).name != person.subject or person.subject.startswith("."):
            raise InputError(f"{config.data.manifest}: {person.subject!r} cannot be the name of a file; rename it")
    return people


def images_of(person: SubjectFiles, config: Config) -> Images:
    """Read and checked.  Raises InputError for images that do not fit each other or the configuration."""
    if person.transform:
        raise InputError(f"{person.ct}: it is to be moved by a transform; run deformgan prepare on the manifest first")
    mr = read_volume(person.mr)
    window_of("mr", mr.tensor, config.data, person.mr)
    ct = read_volume(person.ct) if person.ct else None
    mask = read_volume(person.mask, kind="mask") if person.mask else None
    for name, image in ((person.ct, ct), (person.mask, mask)):
        if image is not None and not image.geometry.almost_equal(mr.geometry, TOLERANCE_MM):
            raise InputError(f"{name}: not on the grid of {person.mr}; run deformgan prepare on the manifest")
    return Images(person.subject, mr, ct, mask)


def made_by(arm: Arm, people: Sequence[SubjectFiles], folder: Path, show: Show, device: str) -> dict[str, Path]:
    """FOLDER/ARM/test/SUBJECT.nii.gz of everyone, int16 HU; made where it is missing, or older than the MR.

    All are made anew where another model made what is there.
    """
    home, digest = folder / arm.name / TEST, file_hash(arm.model)
    note = home / NOTE
    if not (note.exists() and digest in note.read_text(encoding="utf-8")):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        write_document({"model": digest}, note)
    for scratch in home.glob(".*.nii.gz"):
        scratch.unlink()
    model = load_model(str(arm.model))
    places = {person.subject: home / f"{person.subject}.nii.gz" for person in people}
    for person in people:
        place = places[person.subject]
        if place.exists() and place.stat().st_mtime_ns >= Path(person.mr).stat().st_mtime_ns:
            continue

        def tell(step: Progress, name: str = f"{arm.name} {person.subject}") -> None:
            show(replace(step, stage=name))

        made = translate(model, read_volume(person.mr), name=person.mr, device=device, show=tell)
        write_volume(replace(made, tensor=made.tensor.round()), place, dtype="int16")
    return places


def measure_ct(
    made: Source,
    real: Source | None = None,
    mr: Source | None = None,
    mask: Source | None = None,
    *,
    plane: Plane = "axial",
    window: tuple[float, float] = WINDOW,
) -> list[Row]:
    """How near a CT made of an MR comes to the real one, a row for every slice of `plane`; needs no training.

    Files, or volumes, on one grid; measures and window as in `deformgan.evaluation.synthesis.slice_measures`.  `slice`
    counts along the files' own axis, from 0.  Raises InputError where they do not fit each other.

    >>> ct = "data/sts/STS_015_CT.nii.gz"
    >>> rows = measure_ct(ct, ct)
    >>> rows[0]["mae_hu"], round(rows[0]["ssim"], 6)
    (0.0, 1.0)
    """
    first = as_volume(made)
    arrays: list[NDArray[np.float32] | None] = []
    for name, source in (("the real CT", real), ("the MR", mr), ("the mask", mask)):
        volume = None if source is None else as_volume(source)
        if volume is not None and not volume.geometry.almost_equal(first.geometry, TOLERANCE_MM):
            raise InputError(f"{name} is not on the grid of the made CT; resample one of them with deformgan warp")
        arrays.append(None if volume is None else volume.numpy())
    axis = Orientation.of(first.geometry).order[TURNED[plane]]
    counted = None if arrays[2] is None else arrays[2] > 0
    return slice_measures(first.numpy(), arrays[0], arrays[1], counted, axis=axis, window=window)
