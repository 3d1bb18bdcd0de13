"""How unlike the descriptors of two images are under each of many shifts, averaged over cells of two voxels a side."""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Float = NDArray[np.float32]


def matching_cost(fixed: Float, moving: Float, radius: int) -> Float:
    """(K, Z / 2, Y / 2, X / 2): sum over the channels of (fixed(x) - moving(x + shift))^2, the mean of each cell.

    Both (C, Z, Y, X), even sizes; K = (2 radius + 1)^3 shifts, x fastest; the border of `moving` repeats.
    """
    _, depth, height, width = fixed.shape
    wide = np.pad(moving, ((0, 0), (0, 0), (0, 0), (radius, radius)), mode="edge")
    cost = np.empty(((2 * radius + 1) ** 3, depth // 2, height // 2, width // 2), np.float32)
    _cost(np.ascontiguousarray(fixed), wide, radius, cost)
    return cost


@njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
def _cost(fixed: Float, moving: Float, radius: int, cost: Float) -> None:
    channels, depth, height, width = fixed.shape
    side, rows = 2 * radius + 1, height // 2
    for job in prange(depth // 2 * rows):
        k, j = job // rows, job % rows
        line = np.empty(width, np.float32)
        for shift in range(cost.shape[0]):
            dz, dy, dx = shift // side**2 - radius, shift // side % side - radius, shift % side
            line[:] = 0
            for z in range(2 * k, 2 * k + 2):
                there_z = min(max(z + dz, 0), depth - 1)
                for y in range(2 * j, 2 * j + 2):
                    there_y = min(max(y + dy, 0), height - 1)
                    for c in range(channels):
                        here, there = fixed[c, z, y], moving[c, there_z, there_y]
                        for x in range(width):
                            d = here[x] - there[x + dx]
                            line[x] += d * d
            for i in range(width // 2):
                cost[shift, k, j, i] = np.float32(0.125) * (line[2 * i] + line[2 * i + 1])
