"""`deformgan train`: train the networks of a task as a YAML file says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deformgan.cli.process import expect_long_work
from deformgan.cli.progress import show_progress

if TYPE_CHECKING:
    from deformgan.config import Experiment
    from deformgan.registration.progress import Show
    from deformgan.training.run import Run


def train(
    config: Annotated[Path, typer.Argument(help="YAML file; configs/ holds examples.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run.  [default: runs/NAME]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last whole checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Forget the run in the folder.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Validate configuration and data, tell sizes, stop.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = all.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Train on your own images: Deform-GAN (task: registration), MR -> CT (cyclegan, conditional), or segmentation.

    Example: deformgan train configs/smoke.yaml, then deformgan register --model runs/smoke --fixed F --moving M
    """
    from deformgan.config import load_config

    settings = load_config(config)
    if out is not None:
        settings = settings.model_copy(update={"out": out})
    if check:
        for line in described(settings):
            typer.echo(line)
        return
    expect_long_work()
    from deformgan.registration.pipeline import use_threads

    use_threads(threads)
    with show_progress(quiet) as progress:
        run = _trained(settings, resume, overwrite, progress)
    for warning in run.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if run.first and not quiet:
        for name, value in run.figures.items():
            typer.echo(f"{name}: {value:.3f}")
        typer.echo(f"{run.folder}")


def described(settings: Experiment) -> list[str]:
    """What would be trained, a line each.  Raises InputError for data that are not there."""
    from deformgan.config import SegmentationConfig, TrainConfig

    if isinstance(settings, TrainConfig):
        from deformgan.training.check import describe

        return describe(settings)
    if isinstance(settings, SegmentationConfig):
        from deformgan.segmentation.check import describe as describe_segmentation

        return describe_segmentation(settings)
    from deformgan.synthesis.check import describe as describe_synthesis

    return describe_synthesis(settings)


def _trained(settings: Experiment, resume: bool, overwrite: bool, show: Show) -> Run:
    from deformgan.config import SegmentationConfig, TrainConfig

    if isinstance(settings, TrainConfig):
        from deformgan.training.loop import train as train_registration

        return train_registration(settings, resume=resume, overwrite=overwrite, show=show)
    if isinstance(settings, SegmentationConfig):
        from deformgan.segmentation.loop import train as train_segmentation

        return train_segmentation(settings, resume=resume, overwrite=overwrite, show=show)
    from deformgan.synthesis.loop import train as train_synthesis

    return train_synthesis(settings, resume=resume, overwrite=overwrite, show=show)
