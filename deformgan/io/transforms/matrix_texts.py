"""Sixteen numbers in a text: the affines of FSL, NiftyReg and greedy, which do not mean the same by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError
from deformgan.io.transforms.parts import Affine
from deformgan.io.volume import RAS_LPS


def read_matrix(path: Path) -> NDArray[np.float64]:
    """(4, 4) of four lines of four numbers, the last 0 0 0 1.  Raises InputError."""
    try:
        matrix = np.array(
            [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()], np.float64
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError("expected four lines of four numbers") from error
    if matrix.shape != (4, 4) or not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
        raise InputError("expected four lines of four numbers, the last one 0 0 0 1")
    matrix[3] = 0, 0, 0, 1
    return matrix


def write_matrix(matrix: NDArray[np.float64], path: Path) -> None:
    """Four lines of four numbers, as they print in full."""
    path.write_text("".join(" ".join(repr(float(v)) for v in row) + "\n" for row in matrix), encoding="utf-8")


def read_ras(path: Path) -> Affine:
    """A matrix of NiftyReg or greedy: fixed point -> moving point, RAS mm.  Raises InputError."""
    return Affine(RAS_LPS @ read_matrix(path) @ RAS_LPS)


def write_ras(matrix: NDArray[np.float64], path: Path) -> None:
    """The (4, 4) of LPS points as NiftyReg and greedy take it."""
    write_matrix(RAS_LPS @ matrix @ RAS_LPS, path)
