"""`deformgan synthesize`: make a CT of an MR, or of every MR in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deformgan.cli.options import Device, DryRun, Quiet, Threads
from deformgan.cli.plan import show_plan
from deformgan.cli.progress import show_progress
from deformgan.cli.register import stem
from deformgan.cli.targets import check_free, check_image_name
from deformgan.cost import Cost, Plan, added
from deformgan.errors import InputError, OutputError

if TYPE_CHECKING:
    from deformgan.synthesis.models import SynthesisModel

ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".mgz", ".mgh")


def synthesize(
    model: Annotated[str, typer.Option(help="A run's folder, or a model file.")],
    image: Annotated[str, typer.Option("--image", "-i", help="MR image, or a folder of them.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="CT to write: .nii.gz, .nii, .mha, .nrrd; for a folder, a folder.")
    ],
    mask_out: Annotated[
        Path | None, typer.Option(help="Also write where the training data say nothing (1 MR, 2 CT, 3 both clipped).")
    ] = None,
    volume: Annotated[int | None, typer.Option(help="Which volume of a 4-D file, from 0.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
    device: Device = "cpu",
    threads: Threads = 0,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Make a CT, in HU and on the MR's own grid, with a model that `train` made.

    A model trained with ct_window: null knows no HU; it gives percent of the image's robust range, 0 to 100.

    Examples:
        deformgan synthesize --model runs/smoke_conditional -i mr.nii.gz -o ct.nii.gz
    """
    jobs = jobs_of(image, out, mask_out, make=not dry_run)
    for target in (t for job in jobs for t in job[1:] if t):
        check_free(target, overwrite=overwrite)
        if target in (out, mask_out):  # else it is named after its image
            check_image_name(target)
    from deformgan.io.formats import read_volume, write_volume
    from deformgan.io.workplace import check_space
    from deformgan.registration.pipeline import use_threads
    from deformgan.synthesis.models import load_model
    from deformgan.synthesis.translate import translate, unsaid

    trained = load_model(model)
    use_threads(threads)
    if dry_run:
        show_plan(_plan(trained, jobs, volume), threads=threads)
        return
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


def _plan(trained: SynthesisModel, jobs: Sequence[tuple[str, Path, Path | None]], volume: int | None) -> Plan:
    """Every image read and checked.  Raises InputError for the first that cannot be used, OutputError."""
    from deformgan.io.formats import read_volume
    from deformgan.io.workplace import check_space
    from deformgan.synthesis.plan import cost_of_translation

    steps: list[str] = []
    costs: list[Cost] = []
    notes: list[str] = []
    for source, ct, mask in jobs:
        mr = read_volume(source, volume=volume)
        check_space(ct, 3 * mr.tensor.numel())
        costs.append(cost_of_translation(trained, mr, source))
        steps.append(f"{source} -> {ct}" + (f" and {mask}" if mask else ""))
        notes += mr.notes
    return Plan(tuple(steps), added(costs), tuple(notes))


def jobs_of(
    image: str, out: Path, second: Path | None = None, *, make: bool = True
) -> list[tuple[str, Path, Path | None]]:
    """(image, result, second result): one, or one for each image in a folder; a DICOM folder is one image.

    make: the folders of the results.
    """
    folder = Path(image)
    found = sorted(p for p in folder.iterdir() if p.name.endswith(ENDINGS)) if folder.is_dir() else []
    if not found:
        return [(image, out, second)]
    names = [f"{stem(str(p))}.nii.gz" for p in found]
    if twice := {n for n in names if names.count(n) > 1}:
        raise InputError(f"{image}: more than one image would be written as {min(twice)}; rename one")
    for place in (out, second):
        if place is not None and make:
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{place}: cannot be made: {error.strerror or error}") from error
    return [
        (str(p), out / name, None if second is None else second / name) for p, name in zip(found, names, strict=True)
    ]
