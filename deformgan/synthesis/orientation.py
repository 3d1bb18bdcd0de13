"""The grid that the networks see: slices, rows and columns of a plane, in whatever order a file has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from torch import Tensor
from torch.nn import functional

from deformgan.config import Plane, ViewConfig
from deformgan.io.geometry import Geometry
from deformgan.spatial.pyramid import smooth_and_shrink

# World axes (0, 1, 2 = x, y, z, LPS) along which slices, rows and columns grow.
WORLD: dict[Plane, tuple[int, int, int]] = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}


@dataclass(frozen=True)
class Orientation:
    """How a tensor (Z, Y, X) of a file becomes one (slices, rows, columns) with the voxels asked for, and back.

    order: the file's axis of each of ours.  flipped: ours that run the other way.  native, shape: voxels before and
    after resizing, which keeps the outer faces.
    """

    order: tuple[int, ...]
    flipped: tuple[int, ...]
    native: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, geometry: Geometry, view: ViewConfig) -> Orientation:
        """The nearest axes of the file; slices keep their distance, unless patches are asked for."""
        cosines = np.array(geometry.direction).reshape(3, 3)
        nearest = max(permutations(range(3)), key=lambda p: sum(abs(cosines[w, p[w]]) for w in range(3)))
        world = WORLD[view.plane]
        index = [nearest[w] for w in world]  # index axes x, y, z of the file
        flipped = tuple(k for k, (w, i) in enumerate(zip(world, index, strict=True)) if cosines[w, i] < 0)
        native = tuple(geometry.size[i] for i in index)
        spacing = [geometry.spacing[i] for i in index]
        wanted = [view.spacing_mm or s for s in spacing]
        if len(view.shape) == 2:
            wanted[0] = spacing[0]
        shape = tuple(max(1, math.floor(n * s / w + 0.5)) for n, s, w in zip(native, spacing, wanted, strict=True))
        return cls(tuple(2 - i for i in index), flipped, native, shape)

    def seen(self, image: Tensor) -> Tensor:
        """(Z, Y, X) of the file, float -> (slices, rows, columns), smoothed where voxels grow."""
        turned = image.permute(self.order).flip(self.flipped)[None, None]
        factors = [max(1.0, n / m) for n, m in zip(self.native, self.shape, strict=True)]
        turned = smooth_and_shrink(turned.contiguous(), factors)
        return _resized(turned, self.shape)

    def back(self, image: Tensor) -> Tensor:
        """(slices, rows, columns) -> (Z, Y, X) of the file, trilinear."""
        turned = _resized(image[None, None], self.native)
        return turned.flip(self.flipped).permute(*np.argsort(self.order).tolist()).contiguous()


def _resized(image: Tensor, shape: Sequence[int]) -> Tensor:
    if tuple(image.shape[2:]) != tuple(shape):
        image = functional.interpolate(image, size=tuple(shape), mode="trilinear", align_corners=False)
    return image[0, 0]
