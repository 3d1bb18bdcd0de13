"""A batch of registrations: done on the engine, recorded as it goes, judged at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from os.path import relpath
from pathlib import Path

from deformgan import __version__
from deformgan.cohort.folder import kept_to_oneself
from deformgan.cohort.jobs import Show, Tally, run_jobs
from deformgan.cohort.pairs import THUMBNAIL, PairJob
from deformgan.cohort.pool import Pool
from deformgan.cohort.register import register_pair
from deformgan.cohort.tables import write_summary
from deformgan.io.bids import DESCRIPTION, LINK
from deformgan.io.whole_file import whole_file
from deformgan.registration.outputs import REPORT
from deformgan.report.cohort import Line, write_cohort_report


def run_batch(
    jobs: Sequence[PairJob],
    out: Path,
    pool: Callable[[], AbstractContextManager[Pool]],
    *,
    retry_failed: bool = False,
    show: Show = lambda tally: None,
) -> Tally:
    """Do what is to be done, write OUT/status.csv on the way, OUT/summary.csv and OUT/report.html at the end.

    As `jobs.run_jobs`.  Raises OutputError, for another batch in OUT too.
    """
    lines = {job.name: Line(job.name, *_links(job, out)) for job in jobs}
    kind = "BIDS dataset" if any(job.bids for job in jobs) else "manifest"
    with kept_to_oneself(out, kind, spared=(DESCRIPTION,)):
        tally = run_jobs(jobs, lines, register_pair, out, pool, retry_failed=retry_failed, show=show)
        write_summary(out, lines.values())
        write_cohort_report(out / "report.html", list(lines.values()), out)
    return tally


def _links(job: PairJob, out: Path) -> tuple[str, str]:
    """Of the pair's report and thumbnail, seen from OUT."""
    known = job.file_names()
    report, thumbnail = (relpath(job.home / known[name], out).replace("\\", "/") for name in (REPORT, THUMBNAIL))
    return report, thumbnail


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
