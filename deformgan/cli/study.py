"""`deformgan study`: few or many people, with and without gradient consistency, as one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deformgan.cli.process import expect_long_work
from deformgan.cli.progress import show_progress
from deformgan.errors import InputError


def study(
    config: Annotated[Path, typer.Argument(help="YAML, task cyclegan or conditional; its manifest has a test split.")],
    few: Annotated[int, typer.Option(min=1, help="People of the small arms, drawn by the seed.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; what is there and whole is kept.")],
    gc: Annotated[str, typer.Option(help="Weights of GC.  [default: 0 and the configuration's]")] = "",
    arm: Annotated[list[str] | None, typer.Option(help="NAME=RUN, a further model to measure; again for more.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto as training.device says.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = all.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Forget the runs of the study in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Train few/all people x without/with GC, measure each on the test people: table, tests, plots, error maps.

    Run again, it goes on. Example: deformgan study configs/smoke_conditional.yaml --few 1 --out runs/study
    """
    from deformgan.config import ConditionalConfig, CycleganConfig, load_config

    settings = load_config(config)
    if not isinstance(settings, CycleganConfig | ConditionalConfig):
        raise InputError(f"{config}: a study is of task cyclegan or conditional, not {settings.task}")
    weights = _weights(gc)
    expect_long_work()
    from deformgan.registration.pipeline import use_threads
    from deformgan.study.outcome import PAGE, TABLE_MD
    from deformgan.study.run import StudyOptions, run_study

    use_threads(threads)
    options = StudyOptions(few, weights, tuple(arm or ()), device, overwrite)
    with show_progress(quiet) as progress:
        warnings = run_study(settings, out, options, progress)
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    if not quiet:
        typer.echo((out / TABLE_MD).read_text(encoding="utf-8"), nl=False)
        typer.echo(f"{out / PAGE}")


def _weights(text: str) -> tuple[float, ...]:
    try:
        weights = tuple(float(word) for word in text.split(",")) if text else ()
    except ValueError as error:
        raise InputError(f"--gc takes numbers such as 0,0.3; got {text!r}") from error
    if not all(0 <= w < float("inf") for w in weights):
        raise InputError(f"--gc takes weights of 0 and more; got {text!r}")
    return weights
