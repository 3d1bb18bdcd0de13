"""The files that a command is to write, looked at before it works."""

from __future__ import annotations

from pathlib import Path

from deformgan.errors import OutputError

_IMAGES = (".nii", ".nii.gz", ".mha", ".nrrd")


def check_free(*files: Path, overwrite: bool) -> None:
    """Refuse to replace a file unless told to.  Raises OutputError."""
    if not overwrite and (there := [path for path in files if path.exists()]):
        raise OutputError(f"{there[0]} exists already; use --overwrite, or another name with --out")


def check_image_name(out: Path) -> None:
    """Refuse, before any work is done, a name that could not be written in the end."""
    if not out.name.lower().endswith(_IMAGES):
        raise OutputError(f"{out}: an image is written as {', '.join(_IMAGES)}")
    if not out.parent.is_dir():
        raise OutputError(f"{out}: its folder does not exist; make it, or choose another with --out")
