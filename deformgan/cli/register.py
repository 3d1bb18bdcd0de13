"""`deformgan register`: align two images and write the folder of results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deformgan.cli.process import keep_freed_memory
from deformgan.cli.progress import show_progress
from deformgan.errors import InputError, printable
from deformgan.io.recorded import is_dicom
from deformgan.io.workplace import workplace

if TYPE_CHECKING:
    from deformgan.io.volume import Volume
    from deformgan.registration.progress import Show

METHODS = ("direct", "gan")
N4_NOTE = "the MR's bias field was taken out by N4 before its CT was made, as prepare does"
SUSPECT = 3  # exit code with --strict


def register(
    fixed: Annotated[str, typer.Option(help="Fixed image: NIfTI, MHA, NRRD, MGZ or a DICOM folder.")],
    moving: Annotated[str, typer.Option(help="Moving image, to be brought onto the fixed one.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the results.  [default: MOVING_to_FIXED]")] = None,
    fixed_mask: Annotated[str | None, typer.Option(help="Where the fixed image counts (non-zero).")] = None,
    moving_mask: Annotated[str | None, typer.Option(help="Where the moving image counts (non-zero).")] = None,
    affine_only: Annotated[bool, typer.Option("--affine-only", help="Stop after the affine stage.")] = False,
    rigid_only: Annotated[bool, typer.Option("--rigid-only", help="Stop after the rigid stage.")] = False,
    preset: Annotated[str, typer.Option(help="fast, default or accurate.")] = "default",
    similarity: Annotated[
        str | None, typer.Option(help="Of the deformable stage, such as lg=1,gc=0.5.  [default: by the kind of pair]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A trained model begins: a name (see models), a file, a run's folder, or auto."),
    ] = None,
    refine: Annotated[bool, typer.Option("--refine/--no-refine", help="Go on from the model's prediction.")] = True,
    method: Annotated[
        str, typer.Option(help="direct, or gan: first train T, G and D on this pair alone (minutes).")
    ] = "direct",
    gan_steps: Annotated[int, typer.Option(min=1, help="Training steps of --method gan.")] = 400,
    bridge: Annotated[
        str | None, typer.Option(help="A model of MR -> CT: the CT that it makes of the MR is compared with the CT.")
    ] = None,
    engine: Annotated[str, typer.Option(help="Of rigid and affine: analytic, or autograd (slower).")] = "analytic",
    max_rotation: Annotated[float | None, typer.Option(help="Degrees about each axis, of start and affine.")] = None,
    max_shift: Annotated[float | None, typer.Option(help="Mm along each axis, of start and affine.")] = None,
    max_scale: Annotated[float | None, typer.Option(help="Factor, such as 1.2, of the affine.")] = None,
    search: Annotated[
        bool, typer.Option("--search/--no-search", help="Try many positions first, or only go from the headers' own.")
    ] = True,
    volume: Annotated[int | None, typer.Option(help="Which volume of a 4-D file, from 0.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = all.")] = 0,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes (on a CPU).")] = 0,
    dicom_paths: Annotated[
        bool, typer.Option("--dicom-paths", help="Record the paths of DICOM folders, which may hold a patient's name.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 if the result is suspect; it is written.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Align MOVING to FIXED, affinely and then deformably; no trained model is needed.

    Example: deformgan register --fixed ct.nii.gz --moving mr.nii.gz --out result
    """
    if affine_only and rigid_only:
        raise InputError("--affine-only and --rigid-only exclude each other; give one")
    if method not in METHODS:
        raise InputError(f"--method must be {' or '.join(METHODS)}; got {method!r}")
    if method == "gan" and (affine_only or rigid_only):
        raise InputError("--method gan is a deformable method; leave out --affine-only and --rigid-only")
    if method == "gan" and model == "auto":
        raise InputError("--method gan begins with one model or none; name it with --model (see deformgan models)")
    if method == "gan" and bridge:
        raise InputError("--method gan and --bridge exclude each other; give one")
    from deformgan.registration.options import RegisterOptions, Stage
    from deformgan.registration.outputs import REPORT, check_output, check_room, save_registration

    stage: Stage = "rigid" if rigid_only else "affine" if affine_only else "deformable"
    options = RegisterOptions(
        stage=stage,
        preset=preset,
        similarity=similarity,
        engine=engine,
        max_rotation=max_rotation,
        max_shift=max_shift,
        max_scale=max_scale,
        search=search,
        model=model,
        refine=refine,
        device=device,
        threads=threads,
        seed=seed,
    )
    keep_freed_memory()
    folder = check_output(out or Path(f"{stem(moving)}_to_{stem(fixed)}"), overwrite=overwrite)
    from deformgan.registration.bridge import check_options
    from deformgan.registration.pipeline import register_files

    check_options(options, bridged=bridge is not None)
    with show_progress(quiet) as progress, workplace(folder, alone=True) as place:
        if Path(fixed).is_file():
            check_room(place, fixed)
        source, make = ct_maker(bridge, device, progress) if bridge else ("", None)
        if method == "gan":
            from deformgan.io.pairs import PairFiles
            from deformgan.training.single_pair import train_on_pair

            files = PairFiles(fixed, moving, fixed_mask or "", moving_mask or "")
            run = train_on_pair(files, place, start=model, steps=gan_steps, options=options, show=progress)
            options = replace(options, model=str(run))
        result = register_files(
            fixed,
            moving,
            fixed_mask,
            moving_mask,
            volume=volume,
            bridge=make,
            bridge_source=source,
            options=options,
            progress=progress,
        )
        save_registration(result, folder, overwrite=overwrite, place=place, dicom_paths=dicom_paths)
    for warning in result.warnings:
        typer.echo(f"warning: {printable(warning)}", err=True)
    if result.suspect:
        typer.echo(f"warning: suspect result: {'; '.join(result.suspect_reasons)}; look at the report", err=True)
    if not quiet:
        typer.echo(printable(str(folder / REPORT)))
    if strict and result.suspect:
        raise typer.Exit(SUSPECT)


def ct_maker(name: str, device: str, show: Show) -> tuple[str, Callable[[Volume], Volume]]:
    """(file of the model, what makes a CT of an MR with it, after N4 as in `prepare`).  Raises InputError."""
    from deformgan.io.bias_field import without_bias
    from deformgan.synthesis.models import load_model
    from deformgan.synthesis.translate import translate

    model = load_model(name)
    if model.config.data.ct_window is None:
        raise InputError(f"{model.name}: it was trained with ct_window: null and knows no HU; a bridge leads to CT")
    model.network()  # says now whether its weights fit

    def make(mr: Volume) -> Volume:
        made = translate(model, without_bias(mr), name="the MR", device=device, show=show)
        return replace(made, notes=(N4_NOTE,))

    return model.name, make


def stem(path: str) -> str:
    """The file's name without its endings: brain.nii.gz -> brain; dicom for a folder, often named by a patient."""
    if is_dicom(path):
        return "dicom"
    name = Path(path.split(":")[0] if not Path(path).exists() else path).resolve().name
    for ending in (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".mgz", ".mgh"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name
