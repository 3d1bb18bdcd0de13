"""`deformgan warp`: apply a transform to an image, labels, a series, vectors, points or a mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deformgan.cli.targets import check_free, check_image_name
from deformgan.errors import InputError


def warp(
    transform: Annotated[
        list[Path],
        typer.Option(help="Any transform file, as register writes; several in the order fixed points go through them."),
    ],
    out: Annotated[Path, typer.Option(help="File to write; for images .nii.gz, .nii, .mha, .nrrd.")],
    image: Annotated[str | None, typer.Option(help="Image, labels, series, vectors or tensors to be warped.")] = None,
    points: Annotated[str | None, typer.Option(help="Landmarks: .csv, .fcsv, .mrk.json.")] = None,
    mesh: Annotated[str | None, typer.Option(help="Mesh: .vtk, .gii, .stl, .ply.")] = None,
    inverse: Annotated[
        bool, typer.Option("--inverse", help="The other way: from the fixed image's space into the moving one's.")
    ] = False,
    reference: Annotated[str | None, typer.Option(help="Image on whose grid the result lies.")] = None,
    spacing: Annotated[
        str | None, typer.Option(help="Mm, 1 or 1,1,2, over the reference's (or the image's) box.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Voxels, 128,128,64, over the same box.")] = None,
    labels: Annotated[
        bool | None, typer.Option("--labels/--no-labels", help="The image holds labels.  [default: by its values]")
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option(help="linear, cubic, lanczos; for labels nearest or vote.")
    ] = None,
    volume: Annotated[int | None, typer.Option(help="Only this volume of a series, from 0.")] = None,
    reorient: Annotated[
        str, typer.Option(help="Of vectors and tensors: rotation, ppd, jacobian or none.")
    ] = "rotation",
    vector_frame: Annotated[str, typer.Option(help="What components mean: lps, ras or voxel.")] = "lps",
    space: Annotated[str | None, typer.Option(help="LPS or RAS, of points and meshes whose file does not say.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of the result, such as int16.  [default: float32; labels keep theirs]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")] = False,
) -> None:
    """Bring what belongs to the MOVING image into the FIXED image's space; --inverse: the other way.

    The same rule holds for images, labels, points and meshes, with the same transform: unlike
    antsApplyTransformsToPoints, points need no transform of their own.

    Example: deformgan warp --transform result/transform.h5 --image mr.nii.gz --reference ct.nii.gz --out warped.nii.gz

    Example: deformgan warp --transform result/transform.h5 --points mr.fcsv --out mr_in_ct.fcsv
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
    if points is not None:
        notes = warp_points_file(points, whole, out, space=space, inverse=inverse)
    elif mesh is not None:
        notes = warp_mesh_file(mesh, whole, out, space=space, inverse=inverse)
    else:
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
        check_image_name(out)
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
