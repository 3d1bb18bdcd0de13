"""The part of each row of a volume that counts, so that kernels can leave out the rest.

A span is the first voxel of a row (z, y) that counts and one past the last; an empty row has first = last.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from deformgan.kernels.threads import threads_in_use

Spans = NDArray[np.int32]  # (Z, Y, 2)

RUN = 32  # rows that a thread takes one after another


def spans_of(region: NDArray[np.bool_]) -> Spans:
    """The spans of region (Z, Y, X); what lies between two parts of a row belongs to its span."""
    spans = np.zeros((*region.shape[:2], 2), np.int32)
    _find(np.ascontiguousarray(region), spans)
    return spans


def whole(shape: tuple[int, ...]) -> Spans:
    """The spans of all voxels of a volume of `shape` (Z, Y, X)."""
    spans = np.zeros((*shape[:2], 2), np.int32)
    spans[..., 1] = shape[2]
    return spans


def dealt(count: int) -> NDArray[np.int64]:
    """0..count - 1 in an order of which each thread's share, one after another, has planes from everywhere.

    A body has its widest planes on one side, and the threads must end together.
    """
    hands = threads_in_use()
    return np.concatenate([np.arange(first, count, hands) for first in range(hands)])


@lru_cache(8)
def dealt_rows(count: int, hands: int) -> NDArray[np.int64]:
    """0..count - 1 in an order each of whose parts, of so many `hands`, has runs from everywhere."""
    runs = np.array_split(np.arange(count), hands * max(1, count // (hands * RUN)))
    return np.concatenate([row for first in range(hands) for row in runs[first::hands]])


@njit(parallel=True, cache=True, nogil=True)
def _find(region, spans):
    width = region.shape[2]
    for z in prange(region.shape[0]):
        for y in range(region.shape[1]):
            row = region[z, y]
            first, last = 0, width
            while first < width and not row[first]:
                first += 1
            while last > first and not row[last - 1]:
                last -= 1
            if first < last:
                spans[z, y, 0], spans[z, y, 1] = first, last
