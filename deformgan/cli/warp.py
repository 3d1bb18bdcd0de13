"""`deformgan warp`: apply a transform to an image or to labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deformgan.errors import OutputError


def warp(
    transform: Annotated[Path, typer.Option(help="transform.h5 of a registration, or any ITK transform file.")],
    image: Annotated[str, typer.Option(help="Image to be warped.")],
    reference: Annotated[str, typer.Option(help="Image whose grid the result lies on.")],
    out: Annotated[Path, typer.Option(help="File to write: .nii.gz, .nii, .mha, .nrrd.")],
    labels: Annotated[bool, typer.Option("--labels", help="The image holds labels: nearest neighbour.")] = False,
    inverse: Annotated[bool, typer.Option("--inverse", help="Apply the inverse: fixed image onto moving.")] = False,
    interpolation: Annotated[str | None, typer.Option(help="linear, nearest, cubic or lanczos.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Warp IMAGE onto the grid of REFERENCE.

    Example: deformgan warp --transform result/transform.h5 --image mr.nii.gz --reference ct.nii.gz --out warped.nii.gz
    """
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists already; use --overwrite, or another name with --out")
    from deformgan.io.formats import write_volume
    from deformgan.registration.apply import warp as apply

    warped = apply(image, transform, reference, labels=labels, inverse=inverse, interpolation=interpolation)  # type: ignore[arg-type]
    write_volume(warped, out)
