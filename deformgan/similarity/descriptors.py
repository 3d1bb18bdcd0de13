"""MIND-SSC: what each voxel's surroundings look like among themselves, comparable across modalities."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from deformgan.errors import InputError
from deformgan.kernels.mind import self_similarity, self_similarity_difference
from deformgan.kernels.scale import shift_and_scale as scale_of
from deformgan.similarity.cached import CachedLoss, Counts, Float, Slope, runs_compiled, volumes
from deformgan.similarity.windows import box_sum, check_pair, shift_and_scale, weighted_mean

FLOOR = 1e-4  # share of the image's variance: patch distances below it count as none


def mind_ssc(image: Tensor, radius: int = 2, dilation: int = 2, *, eps: float = FLOOR) -> Tensor:
    """Descriptors (B, K, *spatial) in (0, 1] of image (B, 1, *spatial): K = 12 in 3-D, 4 in 2-D.

    A channel compares two of the 2 d neighbours `dilation` voxels away, not opposite ones, by the mean squared
    difference of patches of 2 radius + 1 voxels a side; the border voxel repeats.  With D the distances less
    their least, a descriptor is exp(-D / mean D), the mean over the K being eps * variance of the image at least: 1 on
    flat patches.  Source: Heinrich et al. 2013; its bounds on the mean are replaced by eps.
    """
    if image.ndim not in (4, 5) or image.shape[1] != 1 or radius < 0 or dilation < 1:
        raise InputError(
            "mind_ssc: expected image (B, 1, *spatial), 2-D or 3-D, radius >= 0 and dilation >= 1; "
            f"got {tuple(image.shape)}, {radius} and {dilation}"
        )
    if not runs_compiled(image) or (torch.is_grad_enabled() and image.requires_grad):
        return _mind_reference(image, radius, dilation, eps)
    leasts = (eps / shift_and_scale(image)[1] ** 2).flatten().tolist()
    pairs = _pairs_in_volume(image.ndim - 2, dilation)
    described = [self_similarity(v, pairs, radius, least) for v, least in zip(volumes(image), leasts, strict=True)]
    whole = torch.from_numpy(described[0])[None] if len(described) == 1 else torch.from_numpy(np.stack(described))
    return whole.view(len(image), len(pairs), *image.shape[2:])


def mind_loss(
    warped: Tensor,
    fixed: Tensor,
    *,
    radius: int = 2,
    dilation: int = 2,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    eps: float = FLOOR,
) -> Tensor:
    """Mean squared difference of the MIND-SSC descriptors, in [0, 1]; 0 = alike.

    Both (B, 1, *spatial), 2-D or 3-D -> scalar, the mean over B; blind to gain, offset and sign of the contrast.
    mask, weight: (B or 1, 1, *spatial), weights of each voxel in the mean, multiplied.
    """
    check_pair(warped, fixed)
    if fixed.requires_grad or not runs_compiled(warped, fixed):
        described = [mind_ssc(image, radius, dilation, eps=eps) for image in (warped, fixed)]
        return _difference(described[0], described[1], mask, weight)
    return SelfSimilarity(fixed, radius, dilation, mask, eps=eps)(warped, weight)


class SelfSimilarity(CachedLoss):
    """mind_loss against a fixed image whose descriptors are kept; K times the fixed image."""

    looks_beyond = True

    def __init__(
        self, fixed: Tensor, radius: int = 2, dilation: int = 2, mask: Tensor | None = None, *, eps: float = FLOOR
    ) -> None:
        """All as in mind_loss."""
        super().__init__(fixed, mask)
        self.radius, self.dilation, self.eps = radius, dilation, eps
        self.descriptors = mind_ssc(self.fixed, radius, dilation, eps=eps)
        self._pairs = _pairs_in_volume(fixed.ndim - 2, dilation)

    def _reference(self, warped: Tensor, weight: Tensor | None) -> Tensor:
        described = mind_ssc(warped, self.radius, self.dilation, eps=self.eps)
        return _difference(described, self.descriptors, self.mask, weight)

    def _compiled(self, b: int, warped: Float, counts: Counts, slope: Slope) -> tuple[float, Float]:
        # The loss alone would save a third of the time, but one kernel more is loaded at every start.
        described = self.descriptors[b].numpy().reshape(-1, *warped.shape)
        least = self.eps / scale_of(warped)[1] ** 2
        return self_similarity_difference(
            warped,
            described,
            self._pairs,
            self.radius,
            least,
            mask=counts.mask,
            weight=counts.weight,
            times=slope.times,
        )


def _difference(a: Tensor, b: Tensor, mask: Tensor | None, weight: Tensor | None) -> Tensor:
    return weighted_mean((a - b).square().mean(1, keepdim=True), mask, weight)


def _pairs(dims: int, dilation: int) -> np.ndarray:
    """(K, 2, d) offsets of the pairs of axis neighbours that do not lie on one axis."""
    neighbours = [sign * dilation * np.eye(dims, dtype=np.int64)[axis] for axis in range(dims) for sign in (-1, 1)]
    return np.array([(a, b) for a, b in combinations(neighbours, 2) if (a + b).any()])


def _pairs_in_volume(dims: int, dilation: int) -> np.ndarray:
    """_pairs as (K, 2, 3): the kernel takes volumes, and an image in 2-D is one plane."""
    pairs = _pairs(dims, dilation)
    return np.concatenate([np.zeros((*pairs.shape[:2], 3 - dims), np.int64), pairs], axis=2)


def _mind_reference(image: Tensor, radius: int, dilation: int, eps: float) -> Tensor:
    """The twin of the kernel in plain torch, any device and dtype."""
    size, distances = 2 * radius + 1, []
    count = box_sum(torch.ones_like(image[:1]), size)
    for a, b in _pairs(image.ndim - 2, dilation):
        distances.append(box_sum((_shifted(image, a) - _shifted(image, b)).square(), size) / count)
    distance = torch.cat(distances, 1)
    distance = distance - distance.amin(1, keepdim=True)
    least = eps / shift_and_scale(image)[1] ** 2
    return torch.exp(-distance / torch.maximum(distance.mean(1, keepdim=True), least))


def _shifted(image: Tensor, offset: np.ndarray) -> Tensor:
    """image(p + offset), the border voxel repeated."""
    for axis, step in enumerate(offset, start=2):
        if step:
            n = image.shape[axis]
            at = (torch.arange(n, device=image.device) + int(step)).clamp(0, n - 1)
            image = image.index_select(axis, at)
    return image
