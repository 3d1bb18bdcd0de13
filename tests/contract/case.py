"""One row of the contract for bad input: files, a command line, and what the command must answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Files = Mapping[str, bytes]

GOOD = "../good"  # the folder of sound files, seen from that of a case
REF, IDENTITY, LABELS = f"{GOOD}/ref.nii.gz", f"{GOOD}/identity.tfm", f"{GOOD}/labels.nii.gz"
OUT = "o.nii.gz"


@dataclass(frozen=True)
class Case:
    """What the folder holds, the words after `deformgan`, and the answer.

    refuses: fragments of the one line with which it ends, exit 2, nothing written.  warns: fragments of what it says
    while it does its work, exit 0, and `writes` the files.  Exactly one of refuses and warns is given.
    """

    name: str
    files: Files
    words: tuple[str, ...]
    refuses: tuple[str, ...] | None = None
    warns: tuple[str, ...] | None = None
    writes: tuple[str, ...] = ()


def warp(image: str, *more: str) -> tuple[str, ...]:
    """Warp an image onto the sound one."""
    return ("warp", "--transform", IDENTITY, "--image", image, "--reference", REF, "--out", OUT, "-q", *more)


def grid(image: str) -> tuple[str, ...]:
    """Ask for the grid of an image alone."""
    return ("warp", "--transform", IDENTITY, "--image", REF, "--reference", image, "--out", OUT, "-q")


def register(*more: str, fixed: str = REF, moving: str = REF) -> tuple[str, ...]:
    """Register, as quickly as it goes."""
    return (
        "register",
        "--fixed",
        fixed,
        "--moving",
        moving,
        "--rigid-only",
        "--preset",
        "fast",
        "--out",
        "r",
        "-q",
        *more,
    )


def info(transform: str, *more: str) -> tuple[str, ...]:
    """Read a transform."""
    return ("transform", "info", transform, *more)


REGISTERED = tuple(
    f"r/{name}" for name in ("warped.nii.gz", "transform.h5", "inverse.h5", "result.json", "report.html")
)
