"""The people of `prepare` and the images of `synthesize` as jobs on the engine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from deformgan.cohort.jobs import Made, Show, Tally, carry_out, run_jobs
from deformgan.cohort.memory import BASE_MB, MARGIN, registration_mb
from deformgan.cohort.notes import Note, options_key
from deformgan.cohort.pairs import model_paths
from deformgan.cohort.pool import Pool
from deformgan.cohort.tables import STATUS
from deformgan.errors import InputError
from deformgan.io.recorded import recorded_text
from deformgan.io.subjects import FILES, SubjectFiles
from deformgan.report.cohort import Line
from deformgan.synthesis.prepare import NOTE as PREPARED
from deformgan.synthesis.prepare import WRITTEN, Everyone, PrepareOptions, prepare_subject, prepared_subject

if TYPE_CHECKING:
    from deformgan.synthesis.models import SynthesisModel

NOTE = "job.json"
MODEL_MB = 1500.0  # of a network at work on slices or patches
Open = Callable[[], AbstractContextManager[Pool]]


@dataclass(frozen=True)
class PrepareJob:
    """One person's files to train on."""

    files: SubjectFiles
    out: str
    options: PrepareOptions

    @property
    def name(self) -> str:
        """The person's."""
        return self.files.subject

    @property
    def place(self) -> Path:
        """Of the note."""
        return Path(self.out, self.name, NOTE)

    @property
    def key(self) -> str:
        """Of the settings."""
        return options_key({"n4": self.options.n4, "labels_on": self.files.labels_on})

    def paths(self) -> dict[str, str]:
        """All inputs by role."""
        return {role: path for role in FILES if (path := getattr(self.files, role))}

    def results(self) -> Sequence[str]:
        """The files that it may leave."""
        return *WRITTEN, PREPARED

    def memory_mb(self) -> float:
        """What a process may need for it."""
        first = self.files.mr or self.files.ct
        return registration_mb(first, self.files.ct or first)

    def on_threads(self, threads: int) -> PrepareJob:
        """The worker's own."""
        return self


def prepare_one(job: PrepareJob) -> tuple[Note, bool]:
    """Make one person's files.  Raises DeformganError."""

    def make(place: Path) -> Made:
        begin = time.perf_counter()
        made = prepare_subject(job.files, Path(job.out), job.options)
        there = [Path(path).name for role in FILES if (path := getattr(made, role))]
        return Made(there=[*there, PREPARED], values={"seconds": time.perf_counter() - begin})

    return carry_out(job, make)


def everyone_on(pool: Open, *, retry_failed: bool, show: Show) -> Everyone:
    """How `prepare` goes through the people on workers: who fails is recorded in status.csv, the others get done."""

    def everyone(subjects: Sequence[SubjectFiles], out: Path, options: PrepareOptions) -> Iterator[SubjectFiles]:
        jobs = [PrepareJob(files, str(out), options) for files in subjects]
        lines = {job.name: Line(job.name) for job in jobs}
        tally = run_jobs(jobs, lines, prepare_one, out, pool, retry_failed=retry_failed, show=show)
        if failed := tally.counts["failed"]:
            raise InputError(
                f"{failed} of {len(jobs)} people failed, see {out / STATUS}; the others are done, and no manifest is "
                "written; mend them, or take them out of the table, and run the command again"
            )
        yield from (prepared_subject(files, out) for files in subjects)

    return everyone


@dataclass(frozen=True)
class SynthesisJob:
    """The CT of one MR.  image, model: absolute.  ct, mask: names in `out` and in the folder of masks."""

    image: str
    model: str
    out: str
    ct: str
    mask: str | None = None
    volume: int | None = None
    device: str = "cpu"
    threads: int = 0

    @property
    def name(self) -> str:
        """That of the CT."""
        return self.ct

    @property
    def place(self) -> Path:
        """Of the note."""
        return Path(self.out, f".{self.ct}.json")

    @property
    def key(self) -> str:
        """Of the settings."""
        return options_key({"volume": self.volume, "model": self.model})

    def paths(self) -> dict[str, str]:
        """All inputs by role."""
        return {"image": self.image, **model_paths(self.model)}

    def results(self) -> Sequence[str]:
        """The files that it leaves, the mask seen from the CT's folder."""
        return [self.ct, *([os.path.relpath(self.mask, self.out)] if self.mask else [])]

    def memory_mb(self) -> float:
        """What a process may need for it."""
        return registration_mb(self.image, self.image) + MODEL_MB - MARGIN * BASE_MB

    def on_threads(self, threads: int) -> SynthesisJob:
        """The same on so many threads."""
        return replace(self, threads=self.threads or threads)


def synthesize_one(job: SynthesisJob) -> tuple[Note, bool]:
    """Make one CT.  Raises DeformganError."""

    def make(place: Path) -> Made:
        from deformgan.registration.pipeline import use_threads
        from deformgan.synthesis.files import synthesize_file

        begin = time.perf_counter()
        use_threads(job.threads)
        masks = place / "mask.nii.gz" if job.mask else None
        notes = synthesize_file(
            _model(job.model), job.image, place / job.ct, masks, volume=job.volume, device=job.device
        )
        names = [job.ct, *(["mask.nii.gz"] if masks else [])]
        said = tuple(recorded_text(note, job.image) for note in notes)
        return Made(dict(zip(names, job.results(), strict=True)), (), {"seconds": time.perf_counter() - begin}, said)

    return carry_out(job, make)


@lru_cache(1)
def _model(name: str) -> SynthesisModel:
    from deformgan.synthesis.models import load_model

    return load_model(name)


def synthesize_all(jobs: Sequence[SynthesisJob], out: Path, pool: Open, *, retry_failed: bool, show: Show) -> Tally:
    """The CT of every image of a folder, with OUT/status.csv; an image that fails does not stop the rest."""
    lines = {job.name: Line(job.name) for job in jobs}
    return run_jobs(jobs, lines, synthesize_one, out, pool, retry_failed=retry_failed, show=show)
