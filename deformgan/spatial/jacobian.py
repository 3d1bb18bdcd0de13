"""Spatial derivatives of a displacement: the determinant of its Jacobian and what it says of folding."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deformgan.errors import InputError
from deformgan.kernels import field as kernels
from deformgan.spatial.warp import compiled


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """det(I + du/dx), (B, 1, *spatial), of u (B, d, *spatial) in voxels; 1 = volume kept, <= 0 = folded.

    Central differences, one-sided at the borders, as numpy.gradient; the spacing cancels, so the determinant is that of
    the map in mm too.  Differentiable.  Raises InputError for an axis of one voxel or a wrong number of components.
    """
    d = displacement.ndim - 2
    if d not in (2, 3) or displacement.shape[1] != d or min(displacement.shape[2:]) < 2:
        raise InputError(
            "displacement must be (B, d, *spatial), d = 2 or 3 components, two voxels or more along each axis; "
            f"got {tuple(displacement.shape)}"
        )
    if displacement.requires_grad or not compiled(displacement):
        return jacobian_determinant_reference(displacement)
    return torch.from_numpy(np.stack([kernels.jacobian_determinant(u) for u in displacement.contiguous().numpy()]))[
        :, None
    ]


def jacobian_determinant_reference(displacement: Tensor) -> Tensor:
    """`jacobian_determinant` in plain torch."""
    d = displacement.ndim - 2
    slopes = [torch.gradient(displacement, dim=axis + 2)[0] for axis in range(d)]
    j = [[slopes[col][:, row] + (1.0 if row == col else 0.0) for col in range(d)] for row in range(d)]
    if d == 2:
        return (j[0][0] * j[1][1] - j[0][1] * j[1][0])[:, None]
    (a, b, c), (e, f, g), (h, i, k) = j
    return (a * (f * k - g * i) - b * (e * k - g * h) + c * (e * i - f * h))[:, None]


def regularity(displacement: Tensor, mask: Tensor | None = None) -> dict[str, float]:
    """How regular u (B, d, *spatial), in voxels, is: folding_percent, min_jacobian, max_jacobian, sd_log_jacobian.

    mask: (B, 1, *spatial) or broadcastable, True where it counts; None = everywhere.  The logarithm is of the
    determinant held within [1e-9, 1e9], as in the Learn2Reg evaluation.  Raises InputError if the mask is empty.
    """
    return regularity_of(jacobian_determinant(displacement.detach()), mask)


def regularity_of(determinant: Tensor, mask: Tensor | None = None) -> dict[str, float]:
    """`regularity` of the Jacobian's determinant (B, 1, *spatial)."""
    values = determinant.flatten() if mask is None else determinant[mask.bool().expand_as(determinant)]
    if values.numel() == 0:
        raise InputError("the mask over which regularity is measured is empty; give one with at least one voxel")
    lowest, highest = torch.aminmax(values)
    return {
        "folding_percent": 100 * float((values <= 0).sum()) / values.numel(),
        "min_jacobian": float(lowest),
        "max_jacobian": float(highest),
        "sd_log_jacobian": float(values.clamp(1e-9, 1e9).log().std(correction=0)),
    }
