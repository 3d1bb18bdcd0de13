"""`deformgan synthesize`: make a CT of an MR, or of every MR in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from deformgan.cli.progress import show_progress
from deformgan.cli.register import stem
from deformgan.cli.targets import check_free, check_image_name
from deformgan.errors import InputError, OutputError

ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".mgz", ".mgh")


def synthesize(
    model: Annotated[str, typer.Option(help="A run's folder, or a model file.")],
    image: Annotated[str, typer.Option(help="MR image, or a folder of them.")],
    out: Annotated[Path, typer.Option(help="CT to write: .nii.gz, .nii, .mha, .nrrd; for a folder, a folder.")],
    mask_out: Annotated[
        Path | None, typer.Option(help="Also write where the training data say nothing (1 MR, 2 CT, 3 both clipped).")
    ] = None,
    volume: Annotated[int | None, typer.Option(help="Which volume of a 4-D file, from 0.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = all.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Make a CT, in HU and on the MR's own grid, with a model that `train` made.

    A model trained with ct_window: null knows no HU; it gives percent of the image's robust range, 0 to 100.

    Example: deformgan synthesize --model runs/smoke_conditional --image mr.nii.gz --out ct.nii.gz
    """
    jobs = jobs_of(image, out, mask_out)
    for target in (t for job in jobs for t in job[1:] if t):
        check_free(target, overwrite=overwrite)
        check_image_name(target)
    from deformgan.io.formats import read_volume, write_volume
    from deformgan.io.workplace import check_space
    from deformgan.registration.pipeline import use_threads
    from deformgan.synthesis.models import load_model
    from deformgan.synthesis.translate import translate, unsaid

    trained = load_model(model)
    use_threads(threads)
    failed = 0
    with show_progress(quiet) as progress:
        for source, ct, mask in jobs:
            try:
                mr = read_volume(source, volume=volume)
                check_space(ct, 3 * mr.tensor.numel())  # int16, and a byte for the mask
                made = translate(trained, mr, name=source, device=device, show=progress)
            except InputError as error:
                if len(jobs) == 1:
                    raise
                failed += 1
                typer.echo(f"deformgan: {error}", err=True)
                continue
            for note in mr.notes:
                typer.echo(f"warning: {note}", err=True)
            if trained.config.data.ct_window is None:  # percent, not HU
                write_volume(made, ct)
            else:
                write_volume(replace(made, tensor=made.tensor.round()), ct, dtype="int16")
            if mask:
                write_volume(unsaid(trained, mr, made, source), mask)
            if not quiet:
                typer.echo(f"{ct}")
    if failed:
        raise InputError(f"{image}: {failed} of {len(jobs)} images could not be used; the others are done")


def jobs_of(image: str, out: Path, second: Path | None = None) -> list[tuple[str, Path, Path | None]]:
    """(image, result, second result): one, or one for each image in a folder; a DICOM folder is one image."""
    folder = Path(image)
    found = sorted(p for p in folder.iterdir() if p.name.endswith(ENDINGS)) if folder.is_dir() else []
    if not found:
        return [(image, out, second)]
    names = [f"{stem(str(p))}.nii.gz" for p in found]
    if twice := {n for n in names if names.count(n) > 1}:
        raise InputError(f"{image}: more than one image would be written as {min(twice)}; rename one")
    for place in (out, second):
        if place is not None:
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{place}: cannot be made: {error.strerror or error}") from error
    return [
        (str(p), out / name, None if second is None else second / name) for p, name in zip(found, names, strict=True)
    ]
