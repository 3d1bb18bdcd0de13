"""Linear operators that act on one axis at a time, as small dense matrices: the plain torch twins of the kernels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deformgan.kernels.lattice import lattice_weights
from deformgan.kernels.smooth import border_share, gaussian_taps


def along_axis(tensor: Tensor, matrix: NDArray[np.float64], axis: int) -> Tensor:
    """Multiply every line of `tensor` along `axis` (n values) by matrix (m, n) -> m values; its dtype and device."""
    weights = torch.as_tensor(matrix, dtype=tensor.dtype, device=tensor.device)
    if axis in (-1, tensor.ndim - 1):
        return tensor @ weights.T
    before, after = tensor.shape[:axis], tensor.shape[axis + 1 :]
    lines = tensor.reshape(-1, tensor.shape[axis], after.numel())
    return (weights @ lines).reshape(*before, matrix.shape[0], *after)


def lattice_matrix(size: int, nodes: int, factor: float) -> NDArray[np.float64]:
    """(size, nodes): linear interpolation of a lattice whose node k sits at voxel factor * k + (factor - 1) / 2."""
    index, weight = lattice_weights(size, nodes, factor)
    matrix = np.zeros((size, nodes))
    voxels = np.arange(size)
    matrix[voxels, index] = 1 - weight
    matrix[voxels, np.minimum(index + 1, nodes - 1)] += weight
    return matrix


def gaussian_matrix(size: int, sigma: float) -> NDArray[np.float64]:
    """(size, size): truncated Gaussian of `sigma` voxels, renormalised at the borders."""
    taps = gaussian_taps(sigma)
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    matrix = np.where(distance < len(taps), taps[np.minimum(distance, len(taps) - 1)], 0.0)
    scaled: NDArray[np.float64] = matrix / border_share(size, taps)[:, None]
    return scaled


@lru_cache(maxsize=64)  # the images of a pair, and their masks, ask for the same
def shrinking_matrix(size: int, target: int, sigma: float) -> NDArray[np.float64]:
    """(target, size): a Gaussian of `sigma` voxels, then linear interpolation at the centres of `target` equal parts.

    The parts span the whole field of view (align_corners=False).  Rows sum to 1; away from the borders a ramp is kept.
    """
    matrix: NDArray[np.float64] = lattice_matrix(target, size, target / size) @ gaussian_matrix(size, sigma)
    return matrix
