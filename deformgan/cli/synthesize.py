"""`deformgan synthesize`: make a CT of an MR, or of every MR in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deformgan.cli.batch_progress import show_batch
from deformgan.cli.options import Device, DryRun, Quiet, Threads
from deformgan.cli.plan import show_plan
from deformgan.cli.progress import show_progress
from deformgan.cli.register import stem
from deformgan.cli.targets import check_free, check_image_name
from deformgan.cli.workers import (
    WORKERS_HELP,
    Memory,
    RetryFailed,
    Scheduler,
    check_all_done,
    opener,
    pool_options,
    said_to_go_on,
)
from deformgan.cost import Cost, Plan, added
from deformgan.errors import InputError, OutputError

if TYPE_CHECKING:
    from deformgan.cohort.folders import SynthesisJob
    from deformgan.cohort.pool import PoolOptions
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
    workers: Annotated[int, typer.Option("--workers", "-j", min=0, help=f"Of a folder. {WORKERS_HELP}")] = 1,
    memory: Memory = "",
    scheduler: Scheduler = "",
    retry_failed: RetryFailed = False,
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
    for _, *targets in jobs:
        for target in filter(None, targets):
            if target in (out, mask_out):  # else it is named after its image
                check_image_name(target)
    if (workers != 1 or scheduler) and not dry_run:
        pool = pool_options(workers, threads, memory, scheduler, device=device)
        batch = _as_batch(jobs, model, out, volume, device, overwrite=overwrite)
        _run(batch, out, pool, retry_failed=retry_failed, quiet=quiet)
        return
    for _, *targets in jobs:
        check_free(*filter(None, targets), overwrite=overwrite)
    from deformgan.registration.pipeline import use_threads
    from deformgan.synthesis.files import synthesize_file
    from deformgan.synthesis.models import load_model

    trained = load_model(model)
    use_threads(threads)
    if dry_run:
        show_plan(_plan(trained, jobs, volume), threads=threads)
        return
    failed = 0
    with show_progress(quiet) as progress:
        for source, ct, mask in jobs:
            try:
                notes = synthesize_file(trained, source, ct, mask, volume=volume, device=device, show=progress)
            except InputError as error:
                if len(jobs) == 1:
                    raise
                failed += 1
                typer.echo(f"deformgan: {error}", err=True)
                continue
            for note in notes:
                typer.echo(f"warning: {note}", err=True)
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


def _as_batch(
    jobs: list[tuple[str, Path, Path | None]],
    model: str,
    out: Path,
    volume: int | None,
    device: str,
    *,
    overwrite: bool,
) -> list[SynthesisJob]:
    """For workers; a CT that is there and that no batch made is refused unless told otherwise."""
    from deformgan.cohort.folders import SynthesisJob

    if not Path(jobs[0][0]).is_file() or len(jobs) == 1:
        raise InputError("--workers and --scheduler are for a folder of images; give one with --image")
    place = str(Path(model).absolute()) if Path(model).exists() else model
    made = []
    for source, ct, mask in jobs:
        of_mask = str(mask.absolute()) if mask else None
        job = SynthesisJob(str(Path(source).absolute()), place, str(out.absolute()), ct.name, of_mask, volume, device)
        if not job.place.exists():
            check_free(*filter(None, (ct, mask)), overwrite=overwrite)
        made.append(job)
    return made


def _run(jobs: list[SynthesisJob], out: Path, pool: PoolOptions, *, retry_failed: bool, quiet: bool) -> None:
    from deformgan.cohort.folders import synthesize_all

    with show_batch(quiet) as show:
        tally = said_to_go_on(
            lambda: synthesize_all(jobs, out.absolute(), opener(pool), retry_failed=retry_failed, show=show)
        )
    if not quiet:
        typer.echo(f"{out}")
    check_all_done(tally, out, "images")


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
