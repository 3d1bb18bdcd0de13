"""`deformgan batch`: register many pairs, on this machine or a cluster; run again, it goes on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deformgan.cli.batch_progress import show_batch
from deformgan.cli.process import keep_freed_memory
from deformgan.errors import InputError

if TYPE_CHECKING:
    from deformgan.cohort.pairs import PairJob
    from deformgan.cohort.pool import PoolOptions

WILL = {"new": "do", "look": "look at the content", "done": "done", "failed": "failed"}


def batch(
    source: Annotated[
        Path, typer.Argument(help="CSV or JSON: fixed, moving, and masks, labels, any setting; or BIDS.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; what is there and up to date is kept.")],
    fixed: Annotated[
        str, typer.Option(help="Of a BIDS dataset: entities of the fixed images, such as suffix=CT.")
    ] = "",
    moving: Annotated[str, typer.Option(help="And of the moving ones, such as suffix=T1w,session=01.")] = "",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE for all rows without their own, such as preset=fast; repeat."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes, or jobs of --cluster; 0 = by cores and memory.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of each; 0 = its share of the cores.")] = 0,
    memory: Annotated[str, typer.Option(help="Of each worker, such as 6GB.  [default: its share]")] = "",
    scheduler: Annotated[str, typer.Option(help="A running dask scheduler, tcp://HOST:PORT.")] = "",
    cluster: Annotated[str, typer.Option(help="Ask a queue for workers: slurm, pbs, sge, lsf, oar, moab.")] = "",
    queue: Annotated[str | None, typer.Option(help="Queue or partition of --cluster.")] = None,
    walltime: Annotated[str | None, typer.Option(help="Of a job of --cluster, such as 04:00:00.")] = None,
    directive: Annotated[
        list[str] | None, typer.Option(help="A further line of a job of --cluster, such as --account=lab; repeat.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda: each worker takes one GPU.")] = "cpu",
    retries: Annotated[int, typer.Option(min=0, help="Of a pair whose worker died.")] = 2,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Do again what failed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Register every pair of a manifest or a BIDS dataset. Interrupted or changed, run it again: it does the rest.

    Example: deformgan batch data/sts/pairs.csv --out runs/sts --set preset=fast --workers 2
    """
    from deformgan.cohort.pairs import distinct
    from deformgan.cohort.pool import Jobs, PoolOptions

    jobs = distinct(_jobs(source, out.absolute(), fixed, moving, _settings(setting or [], device), quiet=quiet))
    queued = Jobs(cluster, queue, walltime, tuple(directive or ())) if cluster else None
    options = PoolOptions(workers, threads, memory, scheduler, queued, retries, cuda=device != "cpu")
    if dry_run:
        _tell(jobs, out.absolute(), options, retry_failed=retry_failed)
        return
    _run(jobs, out.absolute(), options, retry_failed=retry_failed, quiet=quiet)


def _settings(words: list[str], device: str) -> dict[str, str]:
    """NAME=VALUE, checked by name.  Raises InputError."""
    from deformgan.cohort.pairs import SETTINGS

    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not equals or name not in SETTINGS:
            raise InputError(f"--set takes NAME=VALUE; the names are {', '.join(SETTINGS)}; got {name!r}")
    return {"device": device, **{name: value for name, _, value in pairs}}


def _jobs(source: Path, out: Path, fixed: str, moving: str, settings: dict[str, str], *, quiet: bool) -> list[PairJob]:
    from deformgan.cohort.pairs import jobs_of_dataset, jobs_of_manifest
    from deformgan.io.bids import entity_filter, is_bids, read_bids

    if source.is_dir() and not is_bids(source):
        raise InputError(f"{source}: no BIDS dataset, it has no dataset_description.json; give that, or a CSV or JSON")
    if bool(fixed or moving) != is_bids(source):
        raise InputError("--fixed and --moving choose the images of a BIDS dataset; it needs both, and a table neither")
    if not is_bids(source):
        return list(jobs_of_manifest(source, out, settings))
    pairs, left_out = read_bids(source, entity_filter(fixed), entity_filter(moving))
    for words in left_out if not quiet else ():
        typer.echo(f"left out: {words}", err=True)
    return list(jobs_of_dataset(pairs, out, settings))


def _tell(jobs: list[PairJob], out: Path, options: PoolOptions, *, retry_failed: bool) -> None:
    """One line a pair on stdout: what would be done, and the memory it may need."""
    from deformgan.cohort.batch import planned
    from deformgan.cohort.memory import registration_mb
    from deformgan.cohort.pool import job_script, local_shares

    counts, most = Counter[str](), 0.0
    for job, state, note in planned(jobs, retry_failed=retry_failed):
        counts[state] += 1
        if state in ("done", "failed"):
            typer.echo(f"{WILL[state]:<20}           {job.name}{f': {note.reason}' if note and note.reason else ''}")
            continue
        need = registration_mb(job.files.fixed, job.files.moving)
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


def _run(jobs: list[PairJob], out: Path, options: PoolOptions, *, retry_failed: bool, quiet: bool) -> None:
    from deformgan.cohort.batch import describe_dataset, run_batch
    from deformgan.cohort.pool import open_pool

    with show_batch(quiet) as show:
        try:
            tally = run_batch(
                jobs, out, lambda: open_pool(options, keep_freed_memory), retry_failed=retry_failed, show=show
            )
        except SystemExit:
            typer.echo("what is done stays; run the same command again and it goes on", err=True)
            raise
    if jobs[0].bids:
        describe_dataset(out, jobs[0].bids.root)
    if not quiet:
        typer.echo(f"{out / 'report.html'}")
    if failed := tally.counts["failed"]:
        raise InputError(f"{failed} of {len(jobs)} pairs failed, see {out / 'status.csv'}; the others are done")
