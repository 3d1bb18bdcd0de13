"""`deformgan train`: train Deform-GAN as a YAML file says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deformgan.cli.process import expect_long_work
from deformgan.cli.progress import show_progress


def train(
    config: Annotated[Path, typer.Argument(help="YAML file; configs/ holds examples.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run.  [default: runs/NAME]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last whole checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Forget the run in the folder.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Validate configuration and data, tell sizes, stop.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = all.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Train the networks T, G and D of Deform-GAN on your own pairs.

    Example: deformgan train configs/smoke.yaml, then deformgan register --model runs/smoke --fixed F --moving M
    """
    from deformgan.config import load_config

    settings = load_config(config)
    if out is not None:
        settings = settings.model_copy(update={"out": out})
    if check:
        from deformgan.training.check import describe

        for line in describe(settings):
            typer.echo(line)
        return
    expect_long_work()
    from deformgan.registration.pipeline import use_threads
    from deformgan.training.loop import forget, train

    use_threads(threads)
    if overwrite and not resume:
        forget(settings.folder)
    with show_progress(quiet) as progress:
        run = train(settings, resume=resume, show=progress)
    for warning in run.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if run.first and not quiet:
        for name, value in run.figures.items():
            typer.echo(f"{name}: {value:.3f}")
        typer.echo(f"{run.folder}")
