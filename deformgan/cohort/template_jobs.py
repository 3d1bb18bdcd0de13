"""The three kinds of jobs of a group template: align one subject, take the mean of a round, hand a subject its maps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from deformgan.cohort.jobs import Made, carry_out
from deformgan.cohort.memory import BASE_MB, MARGIN, mean_mb
from deformgan.cohort.notes import Note, Source, options_key
from deformgan.cohort.pairs import PairJob
from deformgan.cohort.register import measures
from deformgan.io.geometry import Geometry
from deformgan.io.pairs import table_rows
from deformgan.registration.outputs import INVERSE, TRANSFORM

COLUMNS = ("name", "image", "mask", "labels")
FILES = COLUMNS[1:]
FIELD_BYTES = 20  # of memory for each byte of a transform's file
TEMPLATE, LABELS, BACK = "template.nii.gz", "labels.nii.gz", "mean.h5"


@dataclass(frozen=True)
class Subject:
    """One of the group; files are absolute, "" where there is none."""

    name: str
    image: str
    mask: str = ""
    labels: str = ""


@dataclass(frozen=True)
class MeanOptions:
    """spacing: mm of the template's voxels, None = the subjects' own.  step: how far to go to the mean shape in a
    round.  sharpen: share of an unsharp mask.
    """

    spacing: float | None = None
    step: float = 1.0
    sharpen: float = 0.0


@dataclass(frozen=True)
class AlignJob(PairJob):
    """A template and a subject registered; of the result the transform alone is kept."""

    def file_names(self) -> dict[str, str]:
        """What is kept."""
        return {TRANSFORM: TRANSFORM}


def align(job: AlignJob) -> tuple[Note, bool]:
    """Find the map from template to subject.  Raises DeformganError."""

    def make(place: Path) -> Made:
        from deformgan.registration.pipeline import register_files

        begin, files = time.perf_counter(), job.files
        found = register_files(files.fixed, files.moving, None, files.moving_mask or None, options=job.options)
        place.joinpath("made").mkdir()
        found.transform.save(place / "made" / TRANSFORM)
        values = {**measures(found), "seconds": time.perf_counter() - begin}
        return Made({f"made/{TRANSFORM}": TRANSFORM}, (), values, found.warnings, found.suspect_reasons)

    return carry_out(job, make)


@dataclass(frozen=True)
class MeanJob:
    """The mean of a round.  transforms: by subject, from `before` to it.  before: the last round's template, None where
    the subjects were brought onto one image and have no grid of their own yet.
    """

    name: str
    out: str
    folder: str
    subjects: tuple[Subject, ...]
    transforms: tuple[str, ...]
    before: str | None
    options: MeanOptions
    threads: int = 0

    @property
    def place(self) -> Path:
        """Of the note."""
        return Path(self.out, self.folder, "mean.json")

    @property
    def key(self) -> str:
        """Of the settings."""
        return options_key({**asdict(self.options), "first": self.before is None})

    def paths(self) -> dict[str, str]:
        """All inputs by role."""
        known = {} if self.before is None else {"before": self.before}
        for subject, transform in zip(self.subjects, self.transforms, strict=True):
            known |= {f"{subject.name} image": subject.image, f"{subject.name} transform": transform}
            known |= {f"{subject.name} labels": subject.labels} if subject.labels else {}
        return known

    def results(self) -> Sequence[str]:
        """The files that it leaves."""
        return TEMPLATE, LABELS, BACK

    def memory_mb(self) -> float:
        """What a process may need for it."""
        return mean_mb(self.subjects[0].image, len(self.subjects) if self.subjects[0].labels else 0)

    def on_threads(self, threads: int) -> MeanJob:
        """The same on so many threads."""
        return replace(self, threads=threads)


def take_mean(job: MeanJob) -> tuple[Note, bool]:
    """Make the template in the middle, and the map to it from the last one.  Raises DeformganError."""
    return carry_out(job, lambda place: _mean(job, place))


def _mean(job: MeanJob, place: Path) -> Made:
    from deformgan.cohort.mean import (
        change_percent,
        common_grid,
        gradient_energy,
        mean_image,
        mean_map,
        mean_shift_mm,
        through,
    )
    from deformgan.io.formats import read_volume, write_volume
    from deformgan.io.grids import read_grid
    from deformgan.registration.pipeline import use_threads
    from deformgan.spatial.transform import Transform

    use_threads(job.threads)
    made = place / "made"
    made.mkdir()
    old = None if job.before is None else read_volume(job.before)
    anywhere = Geometry((1, 1, 1)) if old is None else old.geometry  # affine maps have no need of a grid
    back = mean_map((Transform.load(path) for path in job.transforms), anywhere, job.options.step)
    back.save(made / BACK)
    maps = [through(back, Transform.load(path)) for path in job.transforms] if old is None else []
    grid = old.geometry if old else common_grid([read_grid(s.image) for s in job.subjects], maps, job.options.spacing)
    pairs = ((s, through(back, Transform.load(t))) for s, t in zip(job.subjects, job.transforms, strict=True))
    template = mean_image(((read_volume(s.image), t) for s, t in pairs), grid, job.options.sharpen)
    write_volume(template, made / TEMPLATE)
    values = {"gradient_energy": gradient_energy(template)}
    if old is not None:
        values |= {"mean_shift_mm": mean_shift_mm(back, template), "change_percent": change_percent(template, old)}
    names = [TEMPLATE, BACK]
    if all(s.labels for s in job.subjects):
        values["dice"] = _labels(job, made, grid)
        names.append(LABELS)
    return Made({f"made/{name}": name for name in names}, (), values)


def _labels(job: MeanJob, made: Path, grid: Geometry) -> float:
    """Write the labels that most subjects have there; the mean Dice of each subject's with these."""
    import torch

    from deformgan.cohort.mean import through, voted_labels
    from deformgan.evaluation.overlap import coded_labels, overlap
    from deformgan.io.formats import read_volume, write_volume
    from deformgan.io.volume import Volume
    from deformgan.spatial.resample import resample
    from deformgan.spatial.transform import Transform

    back, brought = Transform.load(made / BACK), []
    for subject, path in zip(job.subjects, job.transforms, strict=True):
        labels = read_volume(subject.labels, kind="labels")
        labels = replace(labels, tensor=labels.tensor.to(torch.int32))
        brought.append(resample(labels, through(back, Transform.load(path)), grid, interpolation="vote").numpy())
    voted = voted_labels(brought)
    write_volume(Volume(torch.from_numpy(voted), grid), made / LABELS)
    return float(np.mean([np.nanmean(overlap(coded_labels(voted, one)).dice) for one in brought]))


@dataclass(frozen=True)
class HandJob:
    """One subject's maps from the final template and to it.  back: to that template from the one before it."""

    name: str
    out: str
    folder: str
    back: str
    transform: str

    @property
    def place(self) -> Path:
        """Of the note."""
        return Path(self.out, self.folder, "subject.json")

    @property
    def key(self) -> str:
        """There are no settings."""
        return ""

    def paths(self) -> dict[str, str]:
        """All inputs by role."""
        return {"mean": self.back, "transform": self.transform}

    def results(self) -> Sequence[str]:
        """The files that it leaves."""
        return TRANSFORM, INVERSE

    def memory_mb(self) -> float:
        """What a process may need for it."""
        return MARGIN * BASE_MB + FIELD_BYTES * sum(Source.of(p).size for p in self.paths().values()) / 1e6

    def on_threads(self, threads: int) -> HandJob:
        """It is over in a second."""
        return self


def hand_over(job: HandJob) -> tuple[Note, bool]:
    """Write transform.h5, template point -> subject point, and inverse.h5.  Raises DeformganError."""

    def make(place: Path) -> Made:
        from deformgan.cohort.mean import through
        from deformgan.spatial.transform import Transform

        whole = through(Transform.load(job.back), Transform.load(job.transform))
        whole.save(place / TRANSFORM)
        whole.inverse().save(place / INVERSE)
        return Made({TRANSFORM: TRANSFORM, INVERSE: INVERSE})

    return carry_out(job, make)


def read_group(path: Path) -> tuple[Subject, ...]:
    """The subjects of a CSV or JSON table: image, and name, mask, labels where wanted.  Raises InputError."""
    from deformgan.cohort.pairs import check_name, stem
    from deformgan.errors import InputError
    from deformgan.io.recorded import is_dicom

    subjects: dict[str, Subject] = {}
    for where, values in table_rows(path, COLUMNS, FILES):
        if not values["image"]:
            raise InputError(f"{where}: image is empty")
        if not values["name"] and is_dicom(values["image"]):
            raise InputError(f"{where}: the name of a DICOM folder may be a patient's; give one in column name")
        name = values["name"] or stem(values["image"])
        check_name(name, where)
        if "/" in name or name.casefold() in subjects:
            raise InputError(f"{where}: {name!r}: each subject needs a name of its own, without /; see column name")
        subjects[name.casefold()] = Subject(name, values["image"], values["mask"], values["labels"])
    if len(subjects) < 2:
        raise InputError(f"{path}: a template needs two subjects at least")
    if len({bool(s.labels) for s in subjects.values()}) > 1:
        raise InputError(f"{path}: some subjects have labels and others none; give all of them or none")
    return tuple(subjects.values())
