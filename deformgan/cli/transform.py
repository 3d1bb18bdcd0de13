"""`deformgan transform`: compose, invert, convert and look at transforms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deformgan.cli.commands import Group, add
from deformgan.cli.completion import formats
from deformgan.cli.targets import check_free
from deformgan.errors import OutputError

if TYPE_CHECKING:
    from deformgan.spatial.transform import Transform

transform = typer.Typer(
    cls=Group, help="Compose, invert, convert and look at transforms, of this and of other tools.", no_args_is_help=True
)

_FORMATS = "itk, fsl, fsl-relative, fsl-absolute, freesurfer, x5, niftyreg, greedy, elastix"

File = Annotated[Path, typer.Argument(metavar="T", help="Transform file.")]
From = Annotated[
    str | None,
    typer.Option("--from", help=f"Its format, where the file does not tell: {_FORMATS}.", autocompletion=formats),
]
Fixed = Annotated[
    str | None,
    typer.Option("--fixed", "-f", help="Fixed image: FSL's files need it; also the grid of a written field."),
]
Moving = Annotated[
    str | None, typer.Option("--moving", "-m", help="Moving image: files of FSL and FreeSurfer need it.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write; .h5 holds any transform.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file.")]


def compose(
    transforms: Annotated[list[Path], typer.Argument(metavar="A B ...", help="A fixed point goes through A first.")],
    out: Out,
    flatten: Annotated[bool, typer.Option("--flatten", help="Write one displacement field on --reference.")] = False,
    reference: Annotated[
        str | None, typer.Option("--reference", "-r", help="Image whose grid the field lies on.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Chain transforms into one file, in the order in which a fixed point goes through them.

    A file that does not tell its format is converted first.

    Examples:
        deformgan transform compose a_to_b.h5 b_to_c.h5 -o a_to_c.h5
    """
    check_free(out, overwrite=overwrite)
    if flatten != (reference is not None):
        raise OutputError("--flatten and --reference go together: one field needs a grid to lie on")
    from deformgan.io.grids import read_grid
    from deformgan.spatial.transform import Transform

    parts = [part for path in transforms for part in Transform.load(path).parts]
    chain = Transform(tuple(parts)).merged()
    if reference is not None:
        chain = chain.flattened(read_grid(reference))
    chain.save(out)
    typer.echo(f"{out}: {len(chain.parts)} part(s), {transforms[0]} first")


def invert(
    path: File,
    out: Out,
    format: From = None,
    fixed: Fixed = None,
    moving: Moving = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the inverse: moving point -> fixed point, and print how far there-and-back misses.

    Examples:
        deformgan transform invert transform.h5 -o inverse.h5
    """
    check_free(out, overwrite=overwrite)
    from deformgan.spatial.summary import inverse_error_mm

    forward = _load(path, format, fixed, moving)
    inverse = ~forward
    error = inverse_error_mm(forward, inverse)
    inverse.save(out)
    typer.echo(f"inverse error: mean {error['mean']:.4f} mm, 95th {error['p95']:.4f} mm, max {error['max']:.4f} mm")
    typer.echo(str(out))


def convert(
    path: File,
    out: Out,
    to: Annotated[
        str | None,
        typer.Option("--to", help=f"Format; by the ending of --out if left out: {_FORMATS}.", autocompletion=formats),
    ] = None,
    format: From = None,
    fixed: Fixed = None,
    moving: Moving = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a transform for another tool.

    Examples:
        deformgan transform convert t.h5 -o w.nii.gz --to fsl -f ct.nii -m mr.nii
    """
    check_free(out, overwrite=overwrite)
    _load(path, format, fixed, moving).save(out, format=to, fixed=fixed, moving=moving)
    typer.echo(str(out))


def info(
    path: File,
    format: From = None,
    fixed: Fixed = None,
    moving: Moving = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Say what a transform maps to where, of what parts it is, and how other tools apply it.

    Examples:
        deformgan transform info transform.h5
    """
    from deformgan.cli.transform_words import described, uses
    from deformgan.io.transform_files import format_of
    from deformgan.spatial.summary import summary

    figures = summary(_load(path, format, fixed, moving))
    figures["format"] = format or format_of(path)
    if as_json:
        typer.echo(json.dumps({"file": str(path), **figures}, indent=2))
        return
    for line in (*described(str(path), figures), *uses(str(path), figures["format"], figures["parts"])):
        typer.echo(line)


def jacobian(
    path: File,
    reference: Annotated[str, typer.Option("--reference", "-r", help="Image whose grid the result lies on.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Image to write: .nii.gz, .nii, .mha, .nrrd.")],
    log: Annotated[bool, typer.Option("--log", help="Write the natural logarithm; folds count as 1e-9.")] = False,
    deformable: Annotated[bool, typer.Option("--deformable", help="Of the fields alone, without matrices.")] = False,
    format: From = None,
    fixed: Fixed = None,
    moving: Moving = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the Jacobian's determinant: above 1 the moving image is larger there than the fixed, 0 and below is a fold.

    Examples:
        deformgan transform jacobian transform.h5 -r ct.nii.gz -o jacobian.nii.gz
    """
    check_free(out, overwrite=overwrite)
    import torch

    from deformgan.cli.transform_words import regularity_line
    from deformgan.io.formats import write_volume
    from deformgan.io.grids import read_grid
    from deformgan.io.volume import Volume
    from deformgan.spatial.jacobian import jacobian_determinant, regularity_of
    from deformgan.spatial.summary import deformable as fields_of

    whole, grid = _load(path, format, fixed, moving), read_grid(reference)
    part = fields_of(whole) if deformable else whole
    determinant = jacobian_determinant(torch.from_numpy(part.voxel_displacement_on(grid))[None])[0, 0]
    figures = regularity_of(determinant[None, None])
    write_volume(Volume(determinant.clamp(1e-9, 1e9).log() if log else determinant, grid), out)
    typer.echo(regularity_line(figures))
    typer.echo(str(out))


def _load(path: Path, format: str | None, fixed: str | None, moving: str | None) -> Transform:
    from deformgan.spatial.transform import Transform

    return Transform.load(path, format=format, fixed=fixed, moving=moving)


for command in (compose, invert, convert, info, jacobian):
    add(transform, command)
