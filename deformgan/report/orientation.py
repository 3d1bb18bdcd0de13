"""Arrays of any orientation -> the three radiological views, with letters and millimetres."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))  # towards minus and plus of the LPS axes x, y, z
SECOND_LETTER = np.sin(np.radians(22.5))  # an oblique axis gets a second letter beyond this share


class Grid(Protocol):
    """What a report asks of a geometry: `spacing` mm x y z, `direction` nine cosines row by row, `shape` z y x."""

    @property
    def spacing(self) -> tuple[float, float, float]: ...
    @property
    def direction(self) -> tuple[float, ...]: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...


@dataclass(frozen=True, eq=False)
class Orientation:
    """How to turn an array so that its axes grow, as nearly as they can, to superior, posterior and left.

    order: the array axis (0 = z, 1 = y, 2 = x) that becomes each.  flipped: whether it is reversed.  spacing: mm along
    each.  directions: (3, 3), row k = LPS unit vector in which axis k of the turned array grows.
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    spacing: tuple[float, float, float]
    directions: NDArray[np.float64]

    @classmethod
    def of(cls, grid: Grid) -> Orientation:
        """The nearest of the 48: the permutation with the largest sum of absolute cosines."""
        cosines = np.array(grid.direction, dtype=np.float64).reshape(3, 3).T[::-1]  # rows: array axes z, y, x
        order = max(itertools.permutations(range(3)), key=lambda p: sum(abs(cosines[p[k], 2 - k]) for k in range(3)))
        flipped = [bool(cosines[order[k], 2 - k] < 0) for k in range(3)]
        signs = np.where(flipped, -1.0, 1.0)
        spacing = [float(grid.spacing[2 - axis]) for axis in order]
        return cls(
            (order[0], order[1], order[2]),
            (flipped[0], flipped[1], flipped[2]),
            (spacing[0], spacing[1], spacing[2]),
            cosines[list(order)] * signs[:, None],
        )

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """(Z, Y, X, ...) -> the same values (S, P, L, ...), a view; axes behind the third stay as they are."""
        turned = array.transpose(*self.order, *range(3, array.ndim))
        return turned[tuple(slice(None, None, -1) if f else slice(None) for f in self.flipped)]


@dataclass(frozen=True, eq=False)
class View:
    """One plane of a turned array: rows top to bottom, columns left to right, as a radiologist has it.

    normal, vertical, horizontal: axes of the turned array; `index`: the plane along `normal`; `upwards`: the vertical
    axis grows upwards on the picture.  width_mm and height_mm include the half voxels at the edges.
    letters: left, right, top, bottom.
    """

    name: str
    normal: int
    vertical: int
    horizontal: int
    upwards: bool
    index: int
    spacing: tuple[float, float, float]
    width_mm: float
    height_mm: float
    letters: tuple[str, str, str, str]

    def cut(self, turned: NDArray[Any]) -> NDArray[Any]:
        """The plane (rows, columns, ...) of a turned array."""
        plane = np.take(turned, self.index, axis=self.normal)  # vertical < horizontal in all three views
        return plane[::-1] if self.upwards else plane

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """mm of a row and of a column."""
        return self.spacing[self.vertical], self.spacing[self.horizontal]


def letters_of(vector: NDArray[np.float64]) -> str:
    """R, L, A, P, I or S, whichever an LPS direction points to most; an oblique one names the second too ("LA")."""
    length = np.linalg.norm(vector)
    order = np.argsort(-np.abs(vector), kind="stable")
    first, second = (LETTERS[k][int(vector[k] > 0)] for k in order[:2])
    return first + second if abs(vector[order[1]]) > SECOND_LETTER * length else first


def radiological_views(orientation: Orientation, shape: tuple[int, ...], centre: tuple[int, ...]) -> tuple[View, ...]:
    """Axial, coronal, sagittal through `centre` (index in the turned array of `shape`); the patient's right is left."""
    planes = (("axial", 0, 1, 2, False), ("coronal", 1, 0, 2, True), ("sagittal", 2, 0, 1, True))
    views = []
    for name, normal, vertical, horizontal, upwards in planes:
        across, down = orientation.directions[horizontal], orientation.directions[vertical] * (-1 if upwards else 1)
        views.append(
            View(
                name,
                normal,
                vertical,
                horizontal,
                upwards,
                centre[normal],
                orientation.spacing,
                shape[horizontal] * orientation.spacing[horizontal],
                shape[vertical] * orientation.spacing[vertical],
                (letters_of(-across), letters_of(across), letters_of(-down), letters_of(down)),
            )
        )
    return tuple(views)
