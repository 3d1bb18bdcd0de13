"""A batch: what is to be done of many pairs, done on the engine, recorded as it goes, judged at the end."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from os.path import relpath
from pathlib import Path

from deformgan import __version__
from deformgan.cohort.engine import Outcome, Task, run_tasks
from deformgan.cohort.memory import registration_mb
from deformgan.cohort.notes import Note, Standing, read_note, standing
from deformgan.cohort.pairs import THUMBNAIL, PairJob
from deformgan.cohort.pool import Pool
from deformgan.cohort.register import names, register_pair
from deformgan.cohort.tables import Status, write_summary
from deformgan.errors import OutputError
from deformgan.io.bids import DESCRIPTION, LINK
from deformgan.io.whole_file import whole_file
from deformgan.registration.outputs import REPORT
from deformgan.report.cohort import Line, write_cohort_report

MARK, LOCK = "batch.json", ".lock"
FORMAT = "deformgan-batch-1"


@dataclass(frozen=True)
class Tally:
    """Where a batch stands.  counts: of the lines' states.  fresh, seconds: how many ended since the workers began.

    now: the pair that has just ended.
    """

    counts: Counter[str]
    total: int
    fresh: int = 0
    seconds: float = 0.0
    now: Line | None = None

    @property
    def ended(self) -> int:
        """Pairs that need no more work."""
        return self.counts["done"] + self.counts["failed"] + self.counts["kept"]

    @property
    def left_s(self) -> float:
        """Seconds left at the pace so far; NaN before the first has ended."""
        return (self.total - self.ended) * self.seconds / self.fresh if self.fresh else float("nan")


Show = Callable[[Tally], None]


def planned(jobs: Sequence[PairJob], *, retry_failed: bool) -> Iterator[tuple[PairJob, Standing, Note | None]]:
    """What is to be done about each job: "done" and "failed" stay as they are, "new" and "look" are for a worker."""
    for job in jobs:
        note = read_note(job.place)
        state = standing(note, job.place, job.key, job.sources()) if note else "new"
        yield job, "new" if state == "failed" and retry_failed else state, note


def run_batch(
    jobs: Sequence[PairJob],
    out: Path,
    pool: Callable[[], AbstractContextManager[Pool]],
    *,
    retry_failed: bool = False,
    show: Show = lambda tally: None,
) -> Tally:
    """Do what is to be done, write OUT/status.csv on the way, OUT/summary.csv and OUT/report.html at the end.

    pool: opens the workers, once there is something to do.  A pair that fails is recorded and does not stop the rest.
    Whatever ends this early, the next call goes on where it stood.  Raises OutputError, for another batch in OUT too.
    """
    lines = {job.name: Line(job.name, *_links(job, out)) for job in jobs}
    with _kept_to_oneself(out, bids=any(job.bids for job in jobs)):
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
                    _work(todo, lines, workers, status, show)
        finally:
            status.write(ended=True)
        write_summary(out, lines.values())
        write_cohort_report(out / "report.html", list(lines.values()), out)
        return Tally(status.counts(), len(lines))


def _work(todo: Sequence[PairJob], lines: dict[str, Line], pool: Pool, status: Status, show: Show) -> None:
    """Run the jobs; their lines say what became of them."""
    begin, fresh = time.monotonic(), 0
    tasks = (_task(job, pool.threads) for job in todo)

    def tell(now: Line | None = None) -> None:
        show(Tally(status.counts(), len(lines), fresh, time.monotonic() - begin, now))

    def started(task: Task) -> None:
        status.change(lines[task.name], "running")
        status.write()
        tell()

    with closing(run_tasks(tasks, register_pair, pool, started=started)) as outcomes:
        for outcome in outcomes:
            line, fresh = lines[outcome.task.name], fresh + 1
            note, anew = outcome.value or (_failed(outcome), True)
            status.change(line, "failed" if outcome.error else "done" if anew else "kept")
            _take(line, note)
            status.write()
            tell(line)


def _task(job: PairJob, threads: int) -> Task:
    """The job for a worker of so many threads, unless its row says how many."""
    options = replace(job.options, threads=job.options.threads or threads)
    return Task(job.name, replace(job, options=options), registration_mb(job.files.fixed, job.files.moving))


def _failed(outcome: Outcome) -> Note:
    """Write down why; files of an earlier result go, since they are of other settings or images."""
    job: PairJob = outcome.task.payload
    note = Note(job.name, "failed", job.key, job.sources(), reason=outcome.error, trace=outcome.trace)
    if job.inside:
        for name in names(job).values():
            (job.home / name).unlink(missing_ok=True)
        note.write(job.place)
    return note


def _take(line: Line, note: Note) -> None:
    line.reason, line.values, line.warnings = note.reason, dict(note.values), note.warnings


def _links(job: PairJob, out: Path) -> tuple[str, str]:
    """Of the pair's report and thumbnail, seen from OUT."""
    known = names(job)
    return tuple(relpath(job.home / known[name], out).replace("\\", "/") for name in (REPORT, THUMBNAIL))  # type: ignore[return-value]


@contextmanager
def _kept_to_oneself(out: Path, *, bids: bool) -> Iterator[None]:
    """The folder, made and marked as a batch's; one batch at a time.  Raises OutputError."""
    from filelock import FileLock, Timeout

    kind = "BIDS dataset" if bids else "manifest"
    check_folder(out, kind)
    lock = FileLock(out / LOCK, timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"{out}: another batch is at work there; wait for it, or give another --out") from error
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from error
    with lock:
        if not (out / MARK).exists():
            with whole_file(out / MARK) as scratch:
                mark = {"format": FORMAT, "of": kind, "deformgan": __version__}
                scratch.write_text(json.dumps(mark, indent=1) + "\n", encoding="utf-8")
        yield


def check_folder(out: Path, kind: str) -> None:
    """Raise OutputError where a batch of this kind ("manifest" or "BIDS dataset") cannot go into the folder."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; give a folder with --out")
    try:
        mark = json.loads((out / MARK).read_text(encoding="utf-8"))
        if mark["of"] != kind:
            raise OutputError(f"{out} holds the batch of a {mark['of']}; give another --out")
    except FileNotFoundError:
        if out.is_dir() and any(path.name not in (LOCK, DESCRIPTION) for path in out.iterdir()):
            raise OutputError(f"{out} holds other files; give a new folder with --out") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{out / MARK}: cannot be read; is {out} the folder of a batch?") from error


def describe_dataset(out: Path, root: str) -> None:
    """Make OUT a BIDS derivative dataset.  Raises OutputError."""
    document = {
        "Name": "Registration by deformgan",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "deformgan", "Version": __version__}],
        "SourceDatasets": [{"URL": f"file://{root}"}],
        "DatasetLinks": {LINK: relpath(root, out)},
    }
    ignored = ("batch.json", "report.html", "status.csv", "summary.csv", "sub-*/figures/")
    for name, text in ((DESCRIPTION, json.dumps(document, indent=1)), (".bidsignore", "\n".join(ignored))):
        with whole_file(out / name) as scratch:
            scratch.write_text(text + "\n", encoding="utf-8")
