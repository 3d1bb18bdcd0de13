"""Small objects are registered as if they were larger, since every length of the stages is made for a human body.

A cervical cord, a mouse's brain or a sample in micrometres is seen through a magnifying glass: all coordinates are
multiplied by one number before the first stage, and what was found is brought back after the last.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deformgan.io.geometry import Geometry
from deformgan.io.transform_files import Affine, DisplacementField, Part
from deformgan.io.volume import Volume
from deformgan.spatial.transform import Transform

SMALL_MM = 90.0  # fields of view below this are magnified
TYPICAL_MM = 180.0  # a head; what is under half of SMALL_MM is magnified to this


def magnification(fixed: Geometry, moving: Geometry, *, by_model: bool = False) -> float:
    """By which number lengths are multiplied: 1 for a field of view of SMALL_MM or more, and continuous below.

    The field of view is the middle one of the three edges, of the image where that is shorter.
    by_model: a trained model predicts, which knows its lengths: always 1.
    """
    if by_model:
        return 1.0
    edge = min(float(np.median(grid.extent_mm)) for grid in (fixed, moving))
    return max(1.0, min((SMALL_MM / edge) ** 2, TYPICAL_MM / edge))


def magnified(image: Volume, times: float) -> Volume:
    """The image with all lengths `times` as long."""
    return replace(image, geometry=_larger(image.geometry, times))


def brought_back(transform: Transform, times: float) -> Transform:
    """The transform between the images as they are, of the one found between magnified ones."""
    return Transform(tuple(_smaller(part, times) for part in transform.parts))


def _larger(grid: Geometry, times: float) -> Geometry:
    longer = {name: tuple(times * v for v in getattr(grid, name)) for name in ("spacing", "origin")}
    return replace(grid, **longer)


def _smaller(part: Part, times: float) -> Part:
    if isinstance(part, DisplacementField):
        return replace(part, geometry=_larger(part.geometry, 1 / times), displacement=part.displacement / times)
    matrix = part.matrix.copy()
    matrix[:3, 3] /= times
    return Affine(matrix)
