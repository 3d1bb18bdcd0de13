"""A group template: rounds of registration to the last template and of taking the mean, restartable at every file.

    round 1      affine, to one of the images; the mean has the mean pose and size
    round 2      affine, to that mean: the affine mean, in which the first image has no say any more
    round 3 ...  deformable, to the last mean; the new one has the mean shape

OUT/rounds/N is a batch of its own (status.csv, a note a subject); what is whole and up to date is not done again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from deformgan import __version__
from deformgan.cohort.folder import kept_to_oneself
from deformgan.cohort.jobs import Job, Show, Tally, run_jobs
from deformgan.cohort.notes import Note, read_note
from deformgan.cohort.pairs import NOTE
from deformgan.cohort.pool import Pool
from deformgan.cohort.tables import STATUS
from deformgan.cohort.template_jobs import (
    BACK,
    LABELS,
    TEMPLATE,
    AlignJob,
    HandJob,
    MeanJob,
    MeanOptions,
    Subject,
    align,
    hand_over,
    take_mean,
)
from deformgan.errors import InputError
from deformgan.io.pairs import PairFiles
from deformgan.io.recorded import recorded_name
from deformgan.io.whole_file import whole_file
from deformgan.registration.options import RegisterOptions
from deformgan.registration.outputs import TRANSFORM
from deformgan.report.cohort import Line
from deformgan.report.group_template import write_template_report

KIND = "template"
AFFINE_ROUNDS = 2
ROUNDS, SUBJECTS, RESULT, REPORT = "rounds", "subjects", "result.json", "report.html"
Open = Callable[[], AbstractContextManager[Pool]]


@dataclass(frozen=True)
class TemplateOptions:
    """rounds: deformable ones.  initial: the image of round 1, "" = the first subject's.  mean: how to take means.

    registration: of all rounds but for the stage.
    """

    rounds: int = 4
    initial: str = ""
    mean: MeanOptions = field(default_factory=MeanOptions)
    registration: RegisterOptions = field(default_factory=RegisterOptions)

    @property
    def total(self) -> int:
        """Of all rounds."""
        return AFFINE_ROUNDS + self.rounds


def build_template(
    group: Sequence[Subject],
    out: Path,
    pool: Open,
    options: TemplateOptions,
    *,
    retry_failed: bool = False,
    show: Show = lambda tally: None,
    begin: Callable[[str], None] = lambda words: None,
) -> dict[str, Any]:
    """Write OUT/template.nii.gz, labels.nii.gz where there are labels, subjects/NAME/{transform,inverse}.h5,
    result.json, report.html and the rounds; what result.json holds.

    pool: opens the workers, once there is something to do.  begin: told in words what is begun.  Raises InputError
    where a subject failed, since a template without it would be another one; what is done stays.
    """
    work = _Rounds(tuple(group), out, pool, options, retry_failed, show, begin)
    with kept_to_oneself(out, KIND):
        notes = [work.round(number) for number in range(1, options.total + 1)]
        work.hand_over()
        last = work.home(options.total)
        for name in (TEMPLATE, LABELS) if (last / LABELS).exists() else (TEMPLATE,):
            with whole_file(out / name) as scratch:
                shutil.copyfile(last / name, scratch)
        result = work.result(notes)
        with whole_file(out / RESULT) as scratch:
            scratch.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        affine = work.home(AFFINE_ROUNDS) / TEMPLATE
        write_template_report(out / REPORT, affine, out / TEMPLATE, result)
    return result


@dataclass(frozen=True)
class _Rounds:
    group: tuple[Subject, ...]
    out: Path
    pool: Open
    options: TemplateOptions
    retry_failed: bool
    show: Show
    begin: Callable[[str], None]

    def home(self, number: int) -> Path:
        """Of a round."""
        return self.out / ROUNDS / str(number)

    def transforms(self, number: int) -> tuple[str, ...]:
        """By subject, from the template before this round."""
        return tuple(str(self.home(number) / SUBJECTS / s.name / TRANSFORM) for s in self.group)

    def round(self, number: int) -> Note:
        """Align all, take the mean; the mean's note."""
        stage = "affine" if number <= AFFINE_ROUNDS else "deformable"
        self.begin(f"round {number} of {self.options.total}, {stage}")
        before = str(self.home(number - 1) / TEMPLATE) if number > 1 else None
        fixed = before or self.options.initial or self.group[0].image
        registration = replace(self.options.registration, stage=stage)  # type: ignore[arg-type]
        jobs = [
            AlignJob(
                s.name,
                PairFiles(fixed, s.image, moving_mask=s.mask),
                registration,
                str(self.home(number)),
                f"{SUBJECTS}/{s.name}",
            )
            for s in self.group
        ]
        self._run(jobs, align, self.home(number))
        job = MeanJob("mean", str(self.out), f"{ROUNDS}/{number}", self.group, self.transforms(number), before,
                      self.options.mean)  # fmt: skip
        self._run([job], take_mean, self.home(number) / "mean")
        note = read_note(job.place)
        assert note is not None  # it did not fail
        return note

    def hand_over(self) -> None:
        """The subjects' maps from the final template."""
        self.begin("transforms of the subjects")
        back, last = str(self.home(self.options.total) / BACK), self.transforms(self.options.total)
        jobs = [
            HandJob(s.name, str(self.out), f"{SUBJECTS}/{s.name}", back, path)
            for s, path in zip(self.group, last, strict=True)
        ]
        self._run(jobs, hand_over, self.out / SUBJECTS)

    def _run(self, jobs: Sequence[Job], function: Callable[[Any], tuple[Note, bool]], home: Path) -> Tally:
        home.mkdir(parents=True, exist_ok=True)
        lines = {job.name: Line(job.name) for job in jobs}
        tally = run_jobs(jobs, lines, function, home, self.pool, retry_failed=self.retry_failed, show=self.show)
        if failed := [line for line in lines.values() if line.status == "failed"]:
            raise InputError(
                f"{failed[0].name}: {failed[0].reason}; {len(failed)} of {len(jobs)} failed, see {home / STATUS}; "
                "mend them, or take them out of the table, and run the command again (--retry-failed tries once more)"
            )
        return tally

    def result(self, notes: Sequence[Note]) -> dict[str, Any]:
        """What result.json holds."""
        suspect = {
            s.name: list(note.suspect)
            for s in self.group
            if (note := read_note(self.home(self.options.total) / SUBJECTS / s.name / NOTE)) and note.suspect
        }
        return {
            "subjects": {s.name: {"image": recorded_name(s.image), "labels": s.labels} for s in self.group},
            "rounds": [
                {"round": n, "stage": "affine" if n <= AFFINE_ROUNDS else "deformable", **note.values}
                for n, note in enumerate(notes, start=1)
            ],
            "suspect": suspect,
            "options": {
                "rounds": self.options.rounds,
                "initial": recorded_name(self.options.initial or self.group[0].image),
                **asdict(self.options.mean),
                "registration": asdict(self.options.registration),
            },
            "versions": {"deformgan": __version__},
        }
