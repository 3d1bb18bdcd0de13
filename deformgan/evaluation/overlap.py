"""How far two label images on one grid agree: the Dice coefficient of every label, in one pass over the voxels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]
Codes = NDArray[Any]  # of the smallest type that holds them

_TABLE = 1 << 20  # labels up to here are looked up in a table, larger or negative ones by bisection


class CodedLabels(NamedTuple):
    """Two label images whose labels are renamed 1, 2, ... in the order of `values` (N,); 0 stays the background."""

    values: NDArray[np.int64]
    fixed: Codes
    warped: Codes


class Overlap(NamedTuple):
    """By label, (N,) each: Dice coefficient in [0, 1], 1 = equal, and the number of voxels in either image."""

    dice: NDArray[np.float64]
    fixed_voxels: NDArray[np.int64]
    warped_voxels: NDArray[np.int64]


def coded_labels(fixed: Labels, warped: Labels, only: tuple[int, ...] = ()) -> CodedLabels:
    """The non-zero labels that either image (Z, Y, X) holds; `only`: these alone, be they there or not."""
    values = np.array(sorted(set(only)), np.int64) if only else np.union1d(_values(fixed), _values(warped))
    values = values[values != 0].astype(np.int64)
    return CodedLabels(values, _coded(fixed, values), _coded(warped, values))


def overlap(labels: CodedLabels) -> Overlap:
    """Dice = 2 |F and W| / (|F| + |W|) of every label: 0 where one image lacks it, NaN where both do."""
    counts = np.zeros((3, len(labels.values) + 1), np.int64)
    for fixed, warped in zip(labels.fixed, labels.warped, strict=True):  # planes, since bincount copies what it counts
        for count, codes in zip(counts, (fixed.ravel(), warped.ravel(), fixed[fixed == warped]), strict=True):
            count += np.bincount(codes, minlength=len(count))
    in_fixed, in_warped, both = counts[:, 1:]
    with np.errstate(invalid="ignore"):
        return Overlap(2 * both / (in_fixed + in_warped), in_fixed, in_warped)


def _values(labels: Labels) -> NDArray[np.int64]:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= _TABLE:
        return np.unique(labels).astype(np.int64)
    there = np.zeros(high + 1, bool)
    there[labels] = True
    return np.flatnonzero(there)


def _coded(labels: Labels, values: NDArray[np.int64]) -> Codes:
    dtype = np.min_scalar_type(len(values))
    if len(values) == 0:
        return np.zeros(labels.shape, dtype)
    low, high = int(labels.min()), int(labels.max())
    if low >= 0 and values[0] >= 0 and max(high, int(values[-1])) < _TABLE:
        table = np.zeros(max(high, int(values[-1])) + 1, dtype)
        table[values] = np.arange(1, len(values) + 1)
        return table[labels]
    place = np.searchsorted(values, labels).clip(max=len(values) - 1)
    return np.where(values[place] == labels, place + 1, 0).astype(dtype)
