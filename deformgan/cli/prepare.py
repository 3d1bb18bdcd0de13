"""`deformgan prepare`: make the files that synthesis is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deformgan.cli.batch_progress import show_batch
from deformgan.cli.options import RUNNING, DryRun, Quiet
from deformgan.cli.plan import show_plan
from deformgan.cli.progress import show_progress
from deformgan.cli.workers import (
    WORKERS_HELP,
    Memory,
    RetryFailed,
    Scheduler,
    opener,
    pool_options,
    said_to_go_on,
)
from deformgan.errors import InputError, OutputError


def prepare(
    manifest: Annotated[Path, typer.Argument(help="CSV or JSON: mr, ct, and transform, mask, labels, subject, split.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; what is there and up to date is kept.")],
    n4: Annotated[bool, typer.Option("--n4/--no-n4", help="Correct the bias field of the MR.")] = True,
    validation: Annotated[float, typer.Option(min=0, max=1, help="Share of the people, if no split says.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of the people, if no split says.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    workers: Annotated[
        int, typer.Option("--workers", "--jobs", "-j", min=0, help=WORKERS_HELP, rich_help_panel=RUNNING)
    ] = 1,
    memory: Memory = "",
    scheduler: Scheduler = "",
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Prepare MR and CT for synthesis: N4, CT on the MR's grid, a split by person. Run again, it goes on.

    Examples:
        deformgan prepare data/sts/mr_ct.csv -o prepared/sts --workers 2
    """
    if validation + test > 1:
        raise InputError(f"--validation and --test are shares of one whole; got {validation:g} + {test:g}")
    if dry_run:
        from deformgan.synthesis.prepare import PrepareOptions, plan

        options = PrepareOptions(n4=n4, validation=validation, test=test, seed=seed)
        show_plan(plan(manifest, out, options), f"write the manifest of all into {out}", threads=workers)
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made: {error.strerror or error}") from error
    from deformgan.synthesis.prepare import PrepareOptions, warnings_of
    from deformgan.synthesis.prepare import prepare as make

    options = PrepareOptions(n4=n4, validation=validation, test=test, seed=seed)
    if workers == 1 and not scheduler:
        with show_progress(quiet) as progress:
            written = make(manifest, out, options, show=progress)
    else:
        from deformgan.cohort.folders import everyone_on

        opened = opener(pool_options(workers, 0, memory, scheduler))
        with show_batch(quiet) as show:
            everyone = everyone_on(opened, retry_failed=retry_failed, show=show)
            written = said_to_go_on(lambda: make(manifest, out, options, everyone=everyone))
    for warning in warnings_of(out):
        typer.echo(f"warning: {warning}", err=True)
    if not quiet:
        typer.echo(f"{written}")
