"""Arrays on their way into the page: on a coarser grid where they must be, in one byte a voxel, gzipped."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deformgan.io.gzipped import gzipped
from deformgan.report.contrast import contrast_window
from deformgan.report.orientation import Orientation, letters_of
from deformgan.report.ramps import Bar, jacobian_bar

if TYPE_CHECKING:
    from deformgan.io.geometry import Geometry

LEVELS = 255  # steps of an image
FIELD_NODES = 50_000  # of the displacement that is drawn as a grid
FIELD_MM, FIELD_VOXELS = 0.01, 0.01  # step of its components: the less of the two
_FOLDED_SHARE = 0.02  # of a coarser voxel that is turned inside out, for it to show as folded
_FEW = 500_000  # voxels of an image that are all looked at for its range
_EMBRACING = 0.5  # share of the usual range that rare values may add to it


@dataclass(frozen=True)
class Block:
    """One array of the page: how to read it (JSON), and its bytes, gzipped."""

    about: dict[str, Any]
    data: bytes

    @property
    def text(self) -> str:
        """Base64."""
        return base64.b64encode(self.data).decode("ascii")


@dataclass(frozen=True)
class ViewGrid:
    """The grid of the viewer: the fixed image's field of view, axes growing to superior, anterior and right.

    matrix: (4, 4), index (right, anterior, superior) -> LPS mm.  own: the fixed image's grid, of which this one may be
    a coarser version.
    """

    own: Geometry
    coarse: Geometry
    orientation: Orientation

    @classmethod
    def within(cls, own: Geometry, voxels: int) -> ViewGrid:
        """`own` where it has no more than so many voxels; else voxels as even as they can be made."""
        extent, spacing = own.extent_mm, np.array(own.spacing)
        mm = float(min(spacing))
        while np.prod(_sizes(own.size, extent, mm)) > voxels:
            mm *= 1.01
        coarse = own.resized(_sizes(own.size, extent, mm)) if mm > min(spacing) else own
        return cls(own, coarse, Orientation.of(coarse))

    @property
    def matrix(self) -> NDArray[np.float64]:
        order, flipped = self.orientation.order, self.orientation.flipped
        step = np.zeros((4, 4))
        step[3, 3] = 1
        for k in range(3):  # superior, posterior, left of the turned array
            axis = 2 - order[k]  # of the geometry, x y z
            backwards = flipped[k] != (k > 0)  # the viewer has anterior and right where the turned array has the others
            step[axis, 2 - k] = -1 if backwards else 1
            step[axis, 3] = self.coarse.size[axis] - 1 if backwards else 0
        return self.coarse.matrix @ step

    def shrunk(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """(Z, Y, X) on the image's own grid -> (S, A, R), smoothed before it is thinned; not finite: the least."""
        import torch

        from deformgan.spatial.pyramid import smooth_and_shrink

        image = np.asarray(array, dtype=np.float32)
        if not np.isfinite(image).all():
            finite = image[np.isfinite(image)]
            image = np.where(np.isfinite(image), image, finite.min() if finite.size else np.float32(0))
        if self.coarse.shape != self.own.shape:
            factors = [a / b for a, b in zip(self.own.shape, self.coarse.shape, strict=True)]
            image = smooth_and_shrink(torch.from_numpy(np.ascontiguousarray(image))[None, None], factors)[0, 0].numpy()
        return self.turned(image)

    def nearest(self, array: NDArray[Any]) -> NDArray[Any]:
        """(Z, Y, X) on the image's own grid -> (S, A, R): the value at the middle of each voxel."""
        pairs = zip(self.own.shape, self.coarse.shape, strict=True)
        picks = [((np.arange(m) + 0.5) * n / m).astype(np.int64) for n, m in pairs]
        return self.turned(array[np.ix_(*picks)])

    def turned(self, array: NDArray[Any]) -> NDArray[Any]:
        """(Z, Y, X, ...) on the coarse grid -> (S, A, R, ...)."""
        return np.ascontiguousarray(self.orientation.turn(array)[:, ::-1, ::-1])

    def about(self) -> dict[str, Any]:
        """What the page must know of the grid."""
        spacing = self.orientation.spacing[::-1]
        superior, posterior, left = self.orientation.directions
        towards = (-left, -posterior, superior)
        return {
            "size": [int(self.coarse.shape[axis]) for axis in self.orientation.order[::-1]],
            "spacing": list(spacing),
            "matrix": self.matrix.tolist(),
            "towards": [letters_of(v) for v in towards],
            "from": [letters_of(-v) for v in towards],
            "own": (np.linalg.inv(self.own.matrix) @ self.matrix).tolist(),
        }


def image_block(image: NDArray[np.float32], own: NDArray[Any]) -> Block:
    """(S, A, R) as whole steps between two values; own: the same image on its own grid, for the window.

    The range is that of all but two voxels in ten thousand, widened to all where that costs little; what lies beyond is
    said to be at or beyond the end.
    """
    low, high = (float(v) for v in np.percentile(_sample(image), (0.01, 99.99)))
    least, most, reach = float(image.min()), float(image.max()), _EMBRACING * (high - low)
    low = least if low - least <= reach else low
    high = most if most - high <= reach else high
    step = (high - low) / LEVELS or 1.0
    steps = np.clip(np.rint((image - low) / step), 0, LEVELS).astype(np.uint8)
    window = contrast_window(own)
    ends = [float(np.clip((v - low) / step, 0, LEVELS)) for v in (window.low, window.high)]
    about = {"low": low, "step": step, "cut": [least < low, most > high], "window": ends}
    return Block(about, _gzipped(steps))


def jacobian_block(grid: ViewGrid, jacobian: NDArray[np.float32]) -> tuple[Block, Bar]:
    """log J in whole steps from 1 to 255 about 0; 0 is folded.  With its colours (256 of them) and their bar."""
    image, inside_out = grid.shrunk(jacobian), jacobian <= 0
    folded = grid.shrunk(inside_out.astype(np.float32)) > _FOLDED_SHARE if inside_out.any() else image <= 0
    logs = np.log(np.clip(image, 1e-3, 1e3))
    logs[folded] = 0
    reach = max(float(logs.max()), -float(logs.min()), math.log(1.25))
    steps = np.clip(np.rint(logs / reach * 127) + 128, 1, LEVELS).astype(np.uint8)
    steps[folded] = 0
    bar = jacobian_bar([_sample(image)])
    values = np.exp((np.arange(256) - 128) / 127 * reach)
    values[0] = -1
    colours = np.rint(bar.colours(values) * 255).astype(int)
    return Block({"reach": reach, "colours": colours.T.tolist()}, _gzipped(steps)), bar


def field_block(grid: ViewGrid, displacement: NDArray[np.float32]) -> Block:
    """Displacement (Z, Y, X, 3) mm, LPS x y z -> (3, S, A, R) along right, anterior, superior, in whole steps.

    The nodes are voxels of the image's own grid, evenly picked, so what is read at a node is what was found there.
    """
    orientation = Orientation.of(grid.own)
    turned = orientation.turn(displacement)[:, ::-1, ::-1]
    sparse = ViewGrid.within(grid.own, FIELD_NODES).coarse
    every = [max(1, round(grid.own.shape[axis] / sparse.shape[axis])) for axis in orientation.order]
    first = [((n - 1) % k) // 2 for n, k in zip(turned.shape, every, strict=False)]
    nodes = turned[tuple(slice(o, None, k) for o, k in zip(first, every, strict=True))]
    towards = orientation.directions[::-1] * np.array([[-1.0], [-1.0], [1.0]])
    step = min(FIELD_MM, FIELD_VOXELS * min(grid.own.spacing))
    steps = np.clip(np.rint(nodes @ np.linalg.inv(towards) / step), -32_768, 32_767).astype("<i2")
    longest = float(np.percentile(np.linalg.norm(nodes, axis=-1), 99.8))
    about = {
        "size": list(nodes.shape[2::-1]),
        "own": list(turned.shape[2::-1]),
        "first": first[::-1],
        "every": every[::-1],
        "step": step,
        "towards": towards.tolist(),
        "longest": longest,
    }
    return Block(about, _gzipped(np.moveaxis(steps, -1, 0)))


def labels_block(grid: ViewGrid, labels: NDArray[Any]) -> Block:
    """(Z, Y, X) whole numbers -> their places in the list of those that occur, 0 first."""
    picked = grid.nearest(np.asarray(labels))
    values, places = np.unique(np.append(picked.ravel(), picked.dtype.type(0)), return_inverse=True)
    zero = int(np.searchsorted(values, 0))
    order = [zero, *(k for k in range(len(values)) if k != zero)]
    rank = np.argsort(order)[places[:-1]].reshape(picked.shape)
    about = {"values": [int(values[k]) for k in order], "wide": len(values) > 256}
    return Block(about, _gzipped(rank.astype("<u2" if about["wide"] else np.uint8)))


def _sample(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.size < _FEW else image[::2, ::2, ::2]


def _gzipped(array: NDArray[Any]) -> bytes:
    return gzipped(np.ascontiguousarray(array).tobytes())


def _sizes(size: tuple[int, ...], extent: NDArray[np.float64], mm: float) -> list[int]:
    return [max(1, min(n, round(float(e) / mm))) for n, e in zip(size, extent, strict=True)]


def sizes_of(blocks: Mapping[str, Block]) -> int:
    """Characters that the blocks take in the page."""
    return sum(-(-len(block.data) // 3) * 4 for block in blocks.values())
