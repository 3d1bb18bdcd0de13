"""`deformgan cross-validate`: train a segmentation once for each fold of people, and judge everyone once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deformgan.cli.dice import judge, make_folder, others_in, segment_people
from deformgan.cli.process import expect_long_work
from deformgan.cli.progress import show_progress
from deformgan.cli.segment import kind_of
from deformgan.errors import InputError

if TYPE_CHECKING:
    from deformgan.config import SegmentationConfig
    from deformgan.registration.progress import Show


def cross_validate(
    config: Annotated[Path, typer.Argument(help="YAML of task segmentation; its data.folds is not looked at.")],
    out: Annotated[Path, typer.Option(help="Folder to write; folds that are trained are kept.")],
    folds: Annotated[int, typer.Option(min=2, help="In how many the people are drawn, by the seed.")] = 5,
    modality: Annotated[str, typer.Option(help="Judge on mr or ct.  [default: what is trained on]")] = "",
    compare: Annotated[list[Path] | None, typer.Option(help="dice.csv of another, drawn and tested beside.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = all.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Forget the runs and the table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Cross-validate a segmentation over all labelled people: runs, labels, Dice by structure, box plot.

    Stopped, it goes on. Example: deformgan cross-validate configs/segmentation_mr.yaml --folds 5 --out runs/by_folds
    """
    from deformgan.config import SegmentationConfig, load_config

    settings = load_config(config)
    if not isinstance(settings, SegmentationConfig):
        raise InputError(f"{config}: a cross-validation is of task segmentation, this is {settings.task}")
    kind = kind_of(modality or settings.data.trained_on)
    others = others_in(compare or [], settings.name)
    make_folder(out, overwrite=overwrite)
    expect_long_work()
    from deformgan.registration.pipeline import use_threads
    from deformgan.segmentation.models import load_model
    from deformgan.segmentation.people import listed, usable

    use_threads(threads)
    cases = []
    with show_progress(quiet) as progress:
        for fold in range(folds):
            data = settings.data.model_copy(update={"folds": folds, "fold": fold})
            one = settings.model_copy(update={"data": data, "out": out / f"fold-{fold}"})
            held_out = [p for p in listed(data, one.seed) if p.split == "validation" and usable(p, kind)]
            model = load_model(str(_trained(one, overwrite, progress)))
            device = "cuda" if one.training.device == "auto" and _gpu() else "cpu"
            cases += segment_people(held_out, model, kind, out, device=device, show=progress)
    if not cases:
        raise InputError(f"{settings.data.manifest}: nobody has a {kind.upper()} and labels")
    lines = judge(cases, settings.structures, out, others)
    for line in [] if quiet else lines:
        typer.echo(line)


def _trained(one: SegmentationConfig, overwrite: bool, show: Show) -> Path:
    """The folder of a fold's run, gone on with where it was begun."""
    from deformgan.segmentation.loop import train
    from deformgan.training.run import CONFIG

    resume = not overwrite and (one.folder / CONFIG).exists()
    return train(one, resume=resume, overwrite=overwrite, show=show).folder


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()
