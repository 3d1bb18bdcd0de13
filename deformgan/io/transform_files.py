"""Transforms as files: those of ITK, FSL, FreeSurfer, X5, NiftyReg, greedy and elastix, in and out.

Points are LPS mm, x y z, and a transform maps a fixed point to the moving point, as in ITK.  `parts` are listed in the
order in which they are applied.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, cast, get_args

from deformgan.errors import InputError, OutputError
from deformgan.io.geometry import Geometry
from deformgan.io.transforms.itk import HDF5_ENDINGS, IMAGE_ENDINGS, read_itk, resample_by_library, write_itk
from deformgan.io.transforms.parts import Affine, DisplacementField, Part, Writable, one_field, one_matrix
from deformgan.io.whole_file import whole_file

__all__ = [
    "FORMATS",
    "Affine",
    "DisplacementField",
    "Format",
    "Part",
    "format_of",
    "read_transform",
    "resample_by_library",
    "write_transform",
]

Format = Literal[
    "itk", "fsl", "fsl-relative", "fsl-absolute", "freesurfer", "x5", "niftyreg", "greedy", "elastix"
]  # fmt: skip
FORMATS: tuple[str, ...] = get_args(Format)

_NIFTI_ENDINGS = (".nii", ".nii.gz")
_MOST_TEXT = 1 << 16  # bytes of a text that are looked at


def read_transform(
    path: str | os.PathLike[str], *, format: str | None = None, fixed: Any = None, moving: Any = None
) -> tuple[Part, ...]:
    """The parts of a transform file, first to be applied first; `Transform.load` wraps them.

    format: one of FORMATS; None = told from the ending and the content, where they tell.  itk: .h5, .tfm, .txt, .mat
    and displacement images, LPS mm, of ITK, ANTs, SimpleITK, 3D Slicer and greedy.  fsl: a flirt matrix or a warp;
    relative or absolute is told from the numbers unless the name says it.  freesurfer: .lta.  x5.  niftyreg: a matrix,
    a deformation, a displacement or a control point grid.  greedy: a matrix, or a warp as ITK's.  elastix:
    TransformParameters.*.txt and those it names.
    fixed, moving: the two images (paths, Geometry or whatever `as_volume` takes), which FSL's files have no meaning
    without.
    B-splines are sampled as `io.transforms.splines` says.  Raises InputError for a file that is missing, damaged, not
    3-D, of another kind, or that may be of several formats.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"no transform file at {source}; check the path")
    try:
        return _read(source, format_of(source) if format is None else _known(format), fixed, moving)
    except InputError as error:
        raise InputError(str(error) if str(source) in str(error) else f"{source}: {error}") from error
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        size = source.stat().st_size
        raise InputError(
            f"cannot read a transform from {source} ({size} bytes); it is damaged or not of a format that is known: "
            f"{', '.join(FORMATS)}"
        ) from error


def write_transform(
    transform: Writable,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    fixed: Any = None,
    moving: Any = None,
) -> None:
    """Write a transform, fixed point -> moving point; the file appears whole or not at all.

    format: one of FORMATS; None = by the ending: .lta, .x5, else itk: .h5 (any chain), .tfm, .txt, .mat (a matrix),
    .nii, .nii.gz, .mha, .nrrd (one displacement field).  fsl, niftyreg and greedy write a field where the name is that
    of an image and a matrix otherwise; elastix and freesurfer a matrix.
    fixed: the image on whose grid a field lies, also where the transform is no field or lies on another; needed by fsl,
    freesurfer and elastix.  moving: needed by fsl and freesurfer.  As in `read_transform`.
    Raises InputError for a missing image, OutputError for a transform that the format cannot hold, or a failed write.
    """
    target = Path(path)
    chosen = _format_to_write(target) if format is None else _known(format)
    with whole_file(target) as scratch:
        try:
            _write(transform, scratch, chosen, fixed, moving)
        except RuntimeError as error:
            raise OutputError(f"{target}: cannot be written: {' '.join(str(error).split())[-160:]}") from error


def format_of(path: Path) -> Format:
    """The format of a transform file, told from its ending and content.  Raises InputError where several may be."""
    name = path.name.lower()
    if name.endswith(_NIFTI_ENDINGS):
        return _format_of_nifti(path)
    if name.endswith(IMAGE_ENDINGS):
        return "itk"
    if name.endswith((*HDF5_ENDINGS, ".x5")):
        from deformgan.io.transforms.x5 import is_x5

        return "x5" if is_x5(path) else "itk"
    if name.endswith(".m3z"):
        raise InputError(f"is FreeSurfer's own field; `mri_warp_convert --inm3z {path.name} --outitk u.nii.gz` helps")
    return _format_of_text(path)


def _format_of_nifti(path: Path) -> Format:
    from deformgan.io.transforms.fsl import COEFFICIENT_INTENTS, FIELD_INTENT
    from deformgan.io.transforms.nifti_vectors import intent_of
    from deformgan.io.transforms.niftyreg import INTENT

    code, name, _, shape = intent_of(path)
    if name == INTENT:
        return "niftyreg"
    if code in (FIELD_INTENT, *COEFFICIENT_INTENTS):
        return "fsl"
    if len(shape) == 4 and shape[3] == 3:
        raise InputError(
            "does not say what its three components are; use --from fsl, or --from niftyreg for positions in RAS mm"
        )
    return "itk"


def _format_of_text(path: Path) -> Format:
    with open(path, "rb") as stream:
        text = stream.read(_MOST_TEXT).decode("latin-1")
    if path.name.lower().endswith(".lta") or ("nxforms" in text and "src volume info" in text):
        return "freesurfer"
    if "(Transform " in text and not text.startswith("#Insight Transform File"):
        return "elastix"
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if len(rows) == 4 and all(len(row) == 4 for row in rows):
        raise InputError(
            "four by four numbers do not say whose they are; `deformgan transform convert` makes an .h5 of them, with "
            "--from fsl (and --fixed, --moving), --from niftyreg or --from greedy"
        )
    return "itk"


def _format_to_write(path: Path) -> Format:
    by_ending: dict[str, Format] = {".lta": "freesurfer", ".x5": "x5"}
    return by_ending.get(path.suffix.lower(), "itk")


def _known(format: str) -> Format:
    if format not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    return cast(Format, format)


def _read(source: Path, format: Format, fixed: Any, moving: Any) -> tuple[Part, ...]:
    image = source.name.lower().endswith(IMAGE_ENDINGS)
    if format == "freesurfer":
        from deformgan.io.transforms.freesurfer import read_lta

        return (read_lta(source),)
    if format == "x5":
        from deformgan.io.transforms.x5 import read_x5

        return read_x5(source)
    if format == "elastix":
        from deformgan.io.transforms.elastix import read_elastix

        return read_elastix(source)
    if format == "niftyreg" and image:
        from deformgan.io.transforms.niftyreg import read_niftyreg_field

        return (read_niftyreg_field(source),)
    if format in ("niftyreg", "greedy") and not image:
        from deformgan.io.transforms.matrix_texts import read_ras

        return (read_ras(source),)
    if format.startswith("fsl"):
        return (_read_fsl(source, format, fixed, moving, image),)
    return read_itk(source)


def _read_fsl(source: Path, format: Format, fixed: Any, moving: Any, image: bool) -> Part:
    from deformgan.io.transforms import fsl

    if image:
        kinds: dict[str, fsl.Kind] = {"fsl-relative": "relative", "fsl-absolute": "absolute"}
        return fsl.read_warp(source, _needed(moving, "--moving", "an FSL warp"), kinds.get(format))
    name = "a flirt matrix"
    return fsl.read_flirt(source, _needed(fixed, "--fixed", name), _needed(moving, "--moving", name))


def _write(transform: Writable, scratch: Path, format: Format, fixed: Any, moving: Any) -> None:
    from deformgan.io.grids import read_grid

    image = scratch.name.lower().endswith(IMAGE_ENDINGS)
    grid = None if fixed is None else read_grid(fixed)
    if format.startswith("fsl"):
        _write_fsl(transform, scratch, format, grid, moving, image)
    elif format == "freesurfer":
        from deformgan.io.transforms.freesurfer import write_lta

        images = _needed(grid, "--fixed", "an .lta"), _needed(moving, "--moving", "an .lta")
        write_lta(one_matrix(transform, "an .lta"), scratch, *images)
    elif format == "x5":
        from deformgan.io.transforms.x5 import write_x5

        write_x5(tuple(transform.parts), scratch, grid)
    elif format == "elastix":
        from deformgan.io.transforms.elastix import write_elastix

        name = "a TransformParameters file"
        write_elastix(one_matrix(transform, name), scratch, _needed(grid, "--fixed", name))
    elif format == "niftyreg" and image:
        from deformgan.io.transforms.niftyreg import write_niftyreg_field

        write_niftyreg_field(one_field(transform, "a deformation field", grid), scratch)
    elif format in ("niftyreg", "greedy") and not image:
        from deformgan.io.transforms.matrix_texts import write_ras

        write_ras(one_matrix(transform, f"a matrix of {format}"), scratch)
    else:
        write_itk(transform, scratch, grid)


def _write_fsl(
    transform: Writable, scratch: Path, format: Format, grid: Geometry | None, moving: Any, image: bool
) -> None:
    from deformgan.io.transforms import fsl

    name = "an FSL warp" if image else "a flirt matrix"
    to, fixed = _needed(moving, "--moving", name), _needed(grid, "--fixed", name)
    if image:
        kind: fsl.Kind = "absolute" if format == "fsl-absolute" else "relative"
        fsl.write_warp(one_field(transform, name, fixed), scratch, to, kind)
    else:
        fsl.write_flirt(one_matrix(transform, name), scratch, fixed, to)


def _needed(image: Any, option: str, name: str) -> Geometry:
    from deformgan.io.grids import read_grid

    if image is None:
        raise InputError(
            f"{name} has no meaning without the images it is for; give this one with {option} of `deformgan transform "
            "convert`, which makes an .h5 for every other command"
        )
    return read_grid(image)
