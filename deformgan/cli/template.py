"""`deformgan template`: the mean of a group, in shape and image; run again, it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deformgan.cli.batch import settings
from deformgan.cli.batch_progress import show_batch
from deformgan.cli.options import Quiet
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
    opener_once,
    pool_options,
    said_to_go_on,
)
from deformgan.errors import InputError, printable


def template(
    source: Annotated[Path, typer.Argument(help="CSV or JSON: image, and name, mask, labels where wanted.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; what is there and up to date is kept.")],
    rounds: Annotated[int, typer.Option(min=0, help="Deformable rounds, after two affine ones.")] = 4,
    initial: Annotated[str, typer.Option(help="Image of the first round.  Default: the first subject's.")] = "",
    spacing: Annotated[float | None, typer.Option(help="Of the template, mm.  Default: the subjects'.")] = None,
    step: Annotated[float, typer.Option(min=0.05, max=1, help="How far a round goes to the mean shape.")] = 1.0,
    sharpen: Annotated[float, typer.Option(min=0, help="Share of an unsharp mask in every round.")] = 0.0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the registrations, such as preset=fast; repeat.")
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
    quiet: Quiet = False,
) -> None:
    """Make the unbiased template of a group: everyone registered to the mean, the mean taken anew, round by round.

    Examples:
        deformgan template heads.csv -o runs/template --set preset=fast --workers 2
    """
    words = settings(setting or [], device)
    if "stage" in words:
        raise InputError("--set stage: a template goes by its own stages; --rounds 0 stops after the affine ones")
    if spacing is not None and not 0.01 <= spacing <= 100:
        raise InputError(f"--spacing is in mm, of the template's voxels; got {spacing:g}")
    from deformgan.cohort.pairs import settings_from
    from deformgan.cohort.template import REPORT, TemplateOptions, build_template
    from deformgan.cohort.template_jobs import MeanOptions, read_group
    from deformgan.io.formats import source_exists

    if initial and not source_exists(initial):
        raise InputError(f"--initial {initial}: no such file")
    group, out = read_group(source), out.absolute()
    start = str(Path(initial).absolute()) if initial else ""
    mean = MeanOptions(spacing, step, sharpen)
    options = TemplateOptions(rounds, start, mean, settings_from(words, "--set"))
    pool = pool_options(
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

    def begin(what: str) -> None:
        if not quiet:
            typer.echo(what, err=True)

    with show_batch(quiet) as show, opener_once(pool) as opened:
        result = said_to_go_on(
            lambda: build_template(group, out, opened, options, retry_failed=retry_failed, show=show, begin=begin)
        )
    for name, reasons in result["suspect"].items():
        typer.echo(printable(f"warning: {name}: suspect in the last round: {'; '.join(reasons)}"), err=True)
    if not quiet:
        typer.echo(printable(str(out / REPORT)))
