"""The part of each row of a volume that counts, so that kernels can leave out the rest.

A span is the first voxel of a row (z, y) that counts and one past the last; an empty row has first = last.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Spans = NDArray[np.int32]  # (Z, Y, 2)


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


@lru_cache(16)
def dealt(count: int, hands: int, run: int = 1) -> NDArray[np.int64]:
    """0..count - 1 in an order each of whose parts, of so many `hands`, has runs of about `run` from everywhere.

    A body has its widest planes on one side, and the threads, which take a part each, must end together.
    """
    runs = np.array_split(np.arange(count), hands * max(1, count // (hands * run)))
    return np.concatenate([part for first in range(hands) for part in runs[first::hands]])


@njit(inline="always")
def span_of(spans, z, y):
    """(first, one past the last) voxel; unsigned, so that a loop over them needs no look-out for negative indices."""
    return np.uint64(spans[z, y, 0]), np.uint64(spans[z, y, 1])


@njit(inline="always")
def hull(one, other):
    """The span that holds both."""
    if one[0] == one[1]:
        return other
    if other[0] == other[1]:
        return one
    return min(one[0], other[0]), max(one[1], other[1])


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
