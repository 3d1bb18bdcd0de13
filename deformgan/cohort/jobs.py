"""Jobs: tasks that leave files and a note, so that what is whole and up to date is not done again."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from deformgan.cohort.engine import Outcome, Task, run_tasks
from deformgan.cohort.notes import Note, Source, Standing, read_note, same_content, standing
from deformgan.cohort.pool import Pool
from deformgan.cohort.tables import Status
from deformgan.errors import InputError, OutputError
from deformgan.io.recorded import recorded_text
from deformgan.io.workplace import uninterrupted, workplace
from deformgan.report.cohort import Line


class Job(Protocol):
    """name: unique in its batch.  place: of its note, in the folder of its files, below `out`.

    key: of the settings that the result depends on.
    """

    @property
    def name(self) -> str: ...
    @property
    def out(self) -> str: ...
    @property
    def place(self) -> Path: ...
    @property
    def key(self) -> str: ...

    def paths(self) -> dict[str, str]:
        """All inputs by role."""
        ...

    def results(self) -> Sequence[str]:
        """The files that it may leave, seen from the note's folder."""
        ...

    def memory_mb(self) -> float:
        """What a process may need for it."""
        ...

    def on_threads(self, threads: int) -> Job:
        """The same on so many threads, where the job itself does not say how many."""
        ...


@dataclass(frozen=True)
class Made:
    """What a job made.  files: by their name in the workplace, their path seen from the note's folder.

    there: those that lie in their place already.  values, warnings, suspect: see Note.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    there: Sequence[str] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    suspect: tuple[str, ...] = ()


def sources_of(job: Job, *, content: bool = False) -> dict[str, Source]:
    """Its inputs as they are now, by role.  content: with their hashes."""
    return {role: Source.of(path, content=content) for role, path in job.paths().items()}


def carry_out(job: Job, make: Callable[[Path], Made]) -> tuple[Note, bool]:
    """(note, whether anything was done): what is whole and made of the same content by the same settings is kept.

    make: fills a new folder, which is its own.  The files appear under their names one by one, and the note after them;
    without it they do not count.  Raises DeformganError.
    """
    home = job.place.parent
    if not _inside(job):
        raise OutputError(f"{home} leads out of {job.out} by a link; remove it, or choose another --out")
    sources = sources_of(job, content=True)
    for role, source in sources.items():
        if source.size < 0:
            raise InputError(f"{role}: no such file: {source.path}")
    old = read_note(job.place)
    if old and standing(old, job.place, job.key, sources) in ("done", "look") and same_content(old, sources):
        note = replace(old, sources=sources)
        note.write(job.place)
        return note, False
    try:
        with workplace(job.place, alone=True) as place:
            made = make(place)
            note = Note(
                job.name,
                "done",
                job.key,
                sources,
                _put(job, place, made),
                {name: round(value, 6) for name, value in made.values.items()},
                made.warnings,
                suspect=made.suspect,
            )
            note.write(job.place)
    except OSError as error:
        raise OutputError(f"{home}: cannot be written: {error.strerror or error}") from error
    return note, True


@dataclass(frozen=True)
class Tally:
    """Where a batch stands.  counts: of the lines' states.  fresh, seconds: how many ended since the workers began.

    now: the one that has just ended.  suspect: how many results are, told at the end.
    """

    counts: Counter[str]
    total: int
    fresh: int = 0
    seconds: float = 0.0
    now: Line | None = None
    suspect: int = 0

    @property
    def ended(self) -> int:
        """Jobs that need no more work."""
        return self.counts["done"] + self.counts["failed"] + self.counts["kept"]

    @property
    def left_s(self) -> float:
        """Seconds left at the pace so far; NaN before the first has ended."""
        return (self.total - self.ended) * self.seconds / self.fresh if self.fresh else float("nan")


Show = Callable[[Tally], None]


def planned(jobs: Sequence[Job], *, retry_failed: bool) -> Iterator[tuple[Job, Standing, Note | None]]:
    """What is to be done about each job: "done" and "failed" stay as they are, "new" and "look" are for a worker."""
    for job in jobs:
        note = read_note(job.place)
        state = standing(note, job.place, job.key, sources_of(job)) if note else "new"
        yield job, "new" if state == "failed" and retry_failed else state, note


def run_jobs(
    jobs: Sequence[Job],
    lines: Mapping[str, Line],
    function: Callable[[Any], tuple[Note, bool]],
    out: Path,
    pool: Callable[[], AbstractContextManager[Pool]],
    *,
    retry_failed: bool = False,
    show: Show = lambda tally: None,
) -> Tally:
    """Do what is to be done, with OUT/status.csv on the way; a job that fails is recorded and does not stop the rest.

    lines: of the jobs by name; they say in the end what became of them.  function: what a worker calls with a job.
    pool: opens the workers, once there is something to do.  Whatever ends this early, the next call goes on where it
    stood.  Raises OutputError.
    """
    todo = []
    for job, state, note in planned(jobs, retry_failed=retry_failed):
        if note and state in ("done", "failed"):
            lines[job.name].status = "kept" if state == "done" else "failed"
            _take(lines[job.name], note)
        else:
            todo.append(job)
    status = Status(out, lines.values())
    try:
        if todo:
            with pool() as workers:
                _work(todo, lines, function, workers, status, show)
    finally:
        for job in todo:
            if lines[job.name].status == "running":
                _clear(job)
        status.write(ended=True)
    return Tally(status.counts(), len(lines), suspect=sum(bool(line.suspect) for line in lines.values()))


def _work(
    todo: Sequence[Job],
    lines: Mapping[str, Line],
    function: Callable[[Any], tuple[Note, bool]],
    pool: Pool,
    status: Status,
    show: Show,
) -> None:
    begin, fresh = time.monotonic(), 0
    tasks = (Task(job.name, job.on_threads(pool.threads), job.memory_mb()) for job in todo)

    def tell(now: Line | None = None) -> None:
        show(Tally(status.counts(), len(lines), fresh, time.monotonic() - begin, now))

    def started(task: Task) -> None:
        status.change(lines[task.name], "running")
        status.write()
        tell()

    with closing(run_tasks(tasks, function, pool, started=started)) as outcomes:
        for outcome in outcomes:
            line, fresh = lines[outcome.task.name], fresh + 1
            note, anew = outcome.value or (_failed(outcome), True)
            status.change(line, "failed" if outcome.error else "done" if anew else "kept")
            _take(line, note)
            status.write()
            tell(line)


def _failed(outcome: Outcome) -> Note:
    """Write down why; files of an earlier result go, since they are of other settings or images."""
    job: Job = outcome.task.payload
    reason = recorded_text(outcome.error, *job.paths().values())
    note = Note(job.name, "failed", job.key, sources_of(job), reason=reason, trace=outcome.trace)
    if _inside(job):
        for name in job.results():
            (job.place.parent / name).unlink(missing_ok=True)
        note.write(job.place)
    return note


def _clear(job: Job) -> None:
    """Remove what a worker that was ended amid a job left of it."""
    with suppress(OSError), workplace(job.place):
        pass  # whoever works there first clears away what the dead have left


def _take(line: Line, note: Note) -> None:
    line.reason, line.values = note.reason, dict(note.values)
    line.warnings, line.suspect = note.warnings, note.suspect


def _inside(job: Job) -> bool:
    """Whether the files come to lie below `out` in truth: a link in the folder's place could lead elsewhere."""
    return job.place.parent.resolve().is_relative_to(Path(job.out).resolve())


def _put(job: Job, place: Path, made: Made) -> dict[str, int]:
    """Move everything to its name; the old note, if any, goes first.  The sizes by name."""
    home = job.place.parent
    with uninterrupted():
        job.place.unlink(missing_ok=True)
        for name, final in made.files.items():
            (home / final).parent.mkdir(parents=True, exist_ok=True)
            os.replace(place / name, home / final)
    return {name: (home / name).stat().st_size for name in (*made.files.values(), *made.there)}
