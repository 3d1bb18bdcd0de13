"""`deformgan warp`: apply a transform to an image, labels, a series, vectors, points or a mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deformgan.cli.completion import frames, interpolations, reorientations, spaces
from deformgan.cli.options import FILES, METHOD, DryRun, Quiet
from deformgan.cli.plan import show_plan
from deformgan.cli.targets import check_free, check_image_name
from deformgan.errors import InputError


def warp(
    transform: Annotated[
        list[Path],
        typer.Option(
            "--transform",
            "-t",
            help="Any transform file, as register writes; several in the order fixed points go through them.",
            rich_help_panel=FILES,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="File; an image as .nii.gz, .nii, .mha, .nrrd.", rich_help_panel=FILES),
    ],
    image: Annotated[
        str | None,
        typer.Option(
            "--image", "-i", help="Image, labels, series, vectors or tensors to be warped.", rich_help_panel=FILES
        ),
    ] = None,
    points: Annotated[
        str | None, typer.Option(help="Landmarks: .csv, .fcsv, .mrk.json.", rich_help_panel=FILES)
    ] = None,
    mesh: Annotated[str | None, typer.Option(help="Mesh: .vtk, .gii, .stl, .ply.", rich_help_panel=FILES)] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", "-r", help="Image on whose grid the result lies.", rich_help_panel=FILES),
    ] = None,
    volume: Annotated[
        int | None, typer.Option(help="Only this volume of a series, from 0.", rich_help_panel=FILES)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.", rich_help_panel=FILES)] = False,
    inverse: Annotated[
        bool,
        typer.Option(
            "--inverse",
            help="The other way: from the fixed image's space into the moving one's.",
            rich_help_panel=METHOD,
        ),
    ] = False,
    spacing: Annotated[
        str | None,
        typer.Option(help="Mm, 1 or 1,1,2, over the reference's (or the image's) box.", rich_help_panel=METHOD),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Voxels, 128,128,64, over the same box.", rich_help_panel=METHOD)
    ] = None,
    labels: Annotated[
        bool | None,
        typer.Option(
            "--labels/--no-labels", help="The image holds labels.  Default: by its values.", rich_help_panel=METHOD
        ),
    ] = None,
    interpolation: Annotated[
        str | None,
        typer.Option(
            help="linear, cubic, lanczos; for labels nearest or vote.",
            autocompletion=interpolations,
            rich_help_panel=METHOD,
        ),
    ] = None,
    reorient: Annotated[
        str,
        typer.Option(
            help="Of vectors and tensors: rotation, ppd, jacobian or none.",
            autocompletion=reorientations,
            rich_help_panel=METHOD,
        ),
    ] = "rotation",
    vector_frame: Annotated[
        str,
        typer.Option(help="What components mean: lps, ras or voxel.", autocompletion=frames, rich_help_panel=METHOD),
    ] = "lps",
    space: Annotated[
        str | None,
        typer.Option(
            help="LPS or RAS, of points and meshes whose file does not say.",
            autocompletion=spaces,
            rich_help_panel=METHOD,
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Of the result, such as int16.  Default: float32; labels keep theirs.", rich_help_panel=METHOD
        ),
    ] = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Bring what belongs to the MOVING image into the FIXED image's space; --inverse: the other way.

    The same rule holds for images, labels, points and meshes, with the same transform: unlike
    antsApplyTransformsToPoints, points need no transform of their own.

    Examples:
        deformgan warp -t out/transform.h5 -i mr.nii.gz -r ct.nii.gz -o warped.nii.gz
        deformgan warp -t out/transform.h5 --points mr.fcsv -o mr_in_ct.fcsv
    """
    if sum(one is not None for one in (image, points, mesh)) != 1:
        raise InputError("give exactly one of --image, --points, --mesh")
    if image is None and (reference or spacing or size or labels is not None or interpolation or volume is not None):
        raise InputError("--reference, --spacing, --size, --labels, --interpolation and --volume are for --image only")
    check_free(out, overwrite=overwrite)
    if image is not None and reference is None and spacing is None and size is None:
        raise InputError("say on which grid the result lies: --reference IMAGE, or --spacing MM")
    from deformgan.warping.chain import chain
    from deformgan.warping.files import ImageOptions, warp_image_file, warp_mesh_file, warp_points_file

    whole = chain(transform)
    options = ImageOptions(
        reference=reference,
        spacing=numbers(spacing, "--spacing"),
        size=[round(n) for n in numbers(size, "--size") or ()] or None,
        labels=labels,
        interpolation=interpolation,  # type: ignore[arg-type]
        volume=volume,
        reorient=reorient,  # type: ignore[arg-type]
        frame=vector_frame,  # type: ignore[arg-type]
        dtype=dtype,
    )
    if image is not None:
        check_image_name(out)
    if dry_run:
        from deformgan.warping.plan import plan_image_file, plan_mesh_file, plan_points_file

        if points is not None:
            plan = plan_points_file(points, space=space, inverse=inverse)
        elif mesh is not None:
            plan = plan_mesh_file(mesh, space=space, inverse=inverse)
        else:
            plan = plan_image_file(str(image), whole, out, options, inverse=inverse)
        show_plan(plan, f"write {out}")
        return
    if points is not None:
        notes = warp_points_file(points, whole, out, space=space, inverse=inverse)
    elif mesh is not None:
        notes = warp_mesh_file(mesh, whole, out, space=space, inverse=inverse)
    else:
        notes = warp_image_file(str(image), whole, out, options, inverse=inverse)
    for note in notes:
        if note.startswith("warning: ") or not quiet:
            typer.echo(note if note.startswith("warning: ") else f"note: {note}", err=True)


def numbers(text: str | None, option: str) -> list[float] | None:
    """One number or three, with commas between them."""
    if text is None:
        return None
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} takes one number or three with commas between them, got {text!r}") from error
    return values
