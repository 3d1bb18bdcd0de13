"""Mean and spread of an image's intensities, from a part of its voxels."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float = NDArray[np.float32]


def shift_and_scale(image: Float) -> tuple[float, float]:
    """Mean and 1 / standard deviation of every third voxel, about; a constant image has scale 1."""
    mean, spread = _mean_and_spread(image[tuple(slice(n % 3 // 2, None, 3) for n in image.shape)])
    return mean, 1 / spread if spread > 1e-20 else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _mean_and_spread(some):
    """Mean and standard deviation, in float64."""
    total = 0.0
    for value in some.flat:
        total += value
    mean = total / some.size
    square = 0.0
    for value in some.flat:
        square += (value - mean) ** 2
    return mean, np.sqrt(square / some.size)
