"""`deformgan batch`: register many pairs, on this machine or a cluster; run again, it goes on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deformgan.cli.batch_progress import show_batch
from deformgan.cli.options import DryRun, Quiet
from deformgan.cli.register import SUSPECT
from deformgan.cli.workers import (
    Cluster,
    Device,
    Directive,
    Memory,
    Queue,
    Retries,
    RetryFailed,
    Scheduler,
    Threads,
    Walltime,
    Workers,
    check_all_done,
    opener,
    pool_options,
    said_to_go_on,
)
from deformgan.errors import InputError, printable

if TYPE_CHECKING:
    from deformgan.cohort.pairs import PairJob
    from deformgan.cohort.pool import PoolOptions

WILL = {"new": "do", "look": "look at the content", "done": "done", "failed": "failed"}


def batch(
    source: Annotated[
        Path, typer.Argument(help="CSV or JSON: fixed, moving, and masks, labels, any setting; or BIDS.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; what is there and up to date is kept.")],
    fixed: Annotated[
        str, typer.Option("--fixed", "-f", help="Of a BIDS dataset: entities of the fixed images, such as suffix=CT.")
    ] = "",
    moving: Annotated[
        str, typer.Option("--moving", "-m", help="And of the moving ones, such as suffix=T1w,session=01.")
    ] = "",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE for all rows without their own, such as preset=fast; repeat."),
    ] = None,
    workers: Workers = 0,
    threads: Threads = 0,
    memory: Memory = "",
    scheduler: Scheduler = "",
    cluster: Cluster = "",
    queue: Queue = None,
    walltime: Walltime = None,
    directive: Directive = None,
    device: Device = "cpu",
    retries: Retries = 2,
    retry_failed: RetryFailed = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 if a result is suspect.")] = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Register every pair of a manifest or a BIDS dataset. Interrupted or changed, run it again: it does the rest.

    Examples:
        deformgan batch data/sts/pairs.csv -o runs/sts --set preset=fast --workers 2
    """
    from deformgan.cohort.pairs import distinct

    jobs = distinct(_jobs(source, out.absolute(), fixed, moving, settings(setting or [], device), quiet=quiet))
    options = pool_options(
        workers,
        threads,
        memory,
        scheduler,
        cluster=cluster,
        queue=queue,
        walltime=walltime,
        directive=directive,
        retries=retries,
        device=device,
    )
    if dry_run:
        _tell(jobs, out.absolute(), options, retry_failed=retry_failed)
        return
    suspect = _run(jobs, out.absolute(), options, retry_failed=retry_failed, quiet=quiet)
    if strict and suspect:
        raise typer.Exit(SUSPECT)


def settings(words: list[str], device: str) -> dict[str, str]:
    """NAME=VALUE, checked by name.  Raises InputError."""
    from deformgan.cohort.pairs import SETTINGS

    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not equals or name not in SETTINGS:
            raise InputError(f"--set takes NAME=VALUE; the names are {', '.join(SETTINGS)}; got {name!r}")
    return {"device": device, **{name: value for name, _, value in pairs}}


def _jobs(source: Path, out: Path, fixed: str, moving: str, defaults: dict[str, str], *, quiet: bool) -> list[PairJob]:
    from deformgan.cohort.pairs import jobs_of_dataset, jobs_of_manifest
    from deformgan.io.bids import entity_filter, is_bids, read_bids

    if source.is_dir() and not is_bids(source):
        raise InputError(f"{source}: no BIDS dataset, it has no dataset_description.json; give that, or a CSV or JSON")
    if bool(fixed or moving) != is_bids(source):
        raise InputError("--fixed and --moving choose the images of a BIDS dataset; it needs both, and a table neither")
    if not is_bids(source):
        return list(jobs_of_manifest(source, out, defaults))
    pairs, left_out = read_bids(source, entity_filter(fixed), entity_filter(moving))
    for words in left_out if not quiet else ():
        typer.echo(printable(f"left out: {words}"), err=True)
    return list(jobs_of_dataset(pairs, out, defaults))


def _tell(jobs: list[PairJob], out: Path, options: PoolOptions, *, retry_failed: bool) -> None:
    """One line a pair on stdout: what would be done, and the memory it may need."""
    from deformgan.cohort.jobs import planned
    from deformgan.cohort.pool import job_script, local_shares

    counts, most = Counter[str](), 0.0
    for job, state, note in planned(jobs, retry_failed=retry_failed):
        counts[state] += 1
        if state in ("done", "failed"):
            typer.echo(f"{WILL[state]:<20}           {job.name}{f': {note.reason}' if note and note.reason else ''}")
            continue
        need = job.memory_mb()
        most = max(most, need)
        typer.echo(f"{WILL[state]:<20} {need:6.0f} MB {job.name}")
    typer.echo(
        f"{counts['new']} to do, {counts['look']} to look at, {counts['done']} done, {counts['failed']} failed before "
        f"(--retry-failed does them again); {most:.0f} MB at most for one"
    )
    if options.jobs:
        typer.echo(job_script(options))
    elif not options.scheduler:
        workers, threads, memory_mb = local_shares(options)
        typer.echo(f"{workers} workers of {threads} threads and {memory_mb:.0f} MB")


def _run(jobs: list[PairJob], out: Path, options: PoolOptions, *, retry_failed: bool, quiet: bool) -> int:
    """How many results are suspect."""
    from deformgan.cohort.batch import describe_dataset, run_batch

    with show_batch(quiet) as show:
        tally = said_to_go_on(lambda: run_batch(jobs, out, opener(options), retry_failed=retry_failed, show=show))
    if jobs[0].bids:
        describe_dataset(out, jobs[0].bids.root)
    if tally.suspect:
        typer.echo(
            f"warning: {tally.suspect} of {tally.total} results are suspect; look at them in the report", err=True
        )
    if not quiet:
        typer.echo(printable(str(out / "report.html")))
    check_all_done(tally, out)
    return tally.suspect
