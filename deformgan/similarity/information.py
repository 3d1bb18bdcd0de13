"""Mutual information, plain and normalised, of a joint histogram with Parzen windows."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deformgan.errors import InputError
from deformgan.kernels.parzen import histogram_derivative, joint_histogram
from deformgan.similarity.cached import CachedLoss, Counts, Float, Slope
from deformgan.spatial.grid import sampling_grid

Range = tuple[float, float]
LEAST_NATS = 1e-6  # of a joint histogram that holds anything; below it nothing is known, and NMI is 1


def mi_loss(
    warped: Tensor,
    fixed: Tensor,
    *,
    bins: int = 32,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    warped_range: Range | None = None,
) -> Tensor:
    """Minus the mutual information in nats; 0 = independent or flat, down to -log(bins).

    Both (B, 1, *spatial), 2-D or 3-D -> scalar, the mean over B, differentiable by warped only.  The fixed image falls
    into whole bins from its least to its largest value; a voxel of warped is spread over four bins by a cubic B-spline
    (Mattes et al. 2003), within warped_range, beyond which values are clamped; by default its own extremes.
    mask, weight: (B or 1, 1, *spatial), weights of each voxel, multiplied.
    """
    return MutualInformation(fixed, bins, mask, warped_range=warped_range)(warped, weight)


def nmi_loss(
    warped: Tensor,
    fixed: Tensor,
    *,
    bins: int = 32,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    warped_range: Range | None = None,
) -> Tensor:
    """2 - NMI, NMI = (H(fixed) + H(warped)) / H(both) (Studholme et al. 1999); 1 = independent; all as in mi_loss."""
    return MutualInformation(fixed, bins, mask, normalised=True, warped_range=warped_range)(warped, weight)


class MutualInformation(CachedLoss):
    """mi_loss, or nmi_loss if `normalised`, against a fixed image whose bins are kept, for many warped images."""

    dtypes = (torch.float32, torch.float64)

    def __init__(
        self,
        fixed: Tensor,
        bins: int = 32,
        mask: Tensor | None = None,
        *,
        normalised: bool = False,
        warped_range: Range | None = None,
    ) -> None:
        """All as in mi_loss; bins from 4 to 256."""
        if not 4 <= bins <= 256:
            raise InputError(f"bins: expected 4 to 256; got {bins}")
        super().__init__(fixed, mask)
        self.bins, self.normalised, self.warped_range = bins, normalised, warped_range
        self._fixed_bins = [whole_bins(image, bins) for image in self.fixed]

    def _range_of(self, warped: Float | Tensor) -> tuple[float, float]:
        """Least value, and bins per unit of intensity; 0 for a constant image."""
        low, high = self.warped_range or (float(warped.min()), float(warped.max()))
        return low, (self.bins - 3) / (high - low) if high > low else 0.0

    def _reference(self, warped: Tensor, weight: Tensor | None) -> Tensor:
        losses = []
        for b, image in enumerate(warped):
            masks = [w.to(warped).expand_as(warped)[b].flatten() for w in (self.mask, weight) if w is not None]
            low, rate = self._range_of(image.detach())
            table = _histogram_reference(self._fixed_bins[b].flatten(), image.flatten(), low, rate, self.bins, masks)
            p = table / table.sum().clamp(min=torch.finfo(table.dtype).tiny)
            h_fixed, h_warped, h_both = (_entropy(p.sum(1)), _entropy(p.sum(0)), _entropy(p))
            nmi = (h_fixed + h_warped) / h_both if h_both > LEAST_NATS else 1 + 0 * h_both
            losses.append(2 - nmi if self.normalised else h_both - h_fixed - h_warped)
        return torch.stack(losses).mean()

    def _compiled(self, b: int, warped: Float, counts: Counts, slope: Slope) -> tuple[float, Float]:
        low, rate = self._range_of(warped)
        pair, voxels = (self._fixed_bins[b].numpy().reshape(warped.shape), warped), (counts.both, counts.spans)
        table = joint_histogram(*pair, low, rate, self.bins, *voxels)
        value, by_table = information_of(table, self.normalised)
        if not slope.wanted:
            return value, np.empty(0, np.float32)
        return value, histogram_derivative(*pair, low, rate, slope.times * by_table, *voxels, onto=slope.onto)


def whole_bins(image: Tensor, bins: int) -> Tensor:
    """The bin of each voxel, uint8, from the image's least to its largest value."""
    low, high = image.min(), image.max()
    rate = bins / (high - low) if high > low else torch.zeros_like(low)
    return ((image - low) * rate).clamp(0, bins - 1).to(torch.uint8)


def _entropy(p: Tensor) -> Tensor:
    positive = torch.where(p > 0, p, torch.ones_like(p))
    return -(p * positive.log()).sum()


def _entropies(p: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """log p, 0 where p is, and the entropy in nats."""
    logs = np.log(np.where(p > 0, p, 1.0))
    return logs, float(-(p * logs).sum())


def information_of(table: NDArray[np.float64], normalised: bool) -> tuple[float, NDArray[np.float64]]:
    """-MI, or 2 - NMI, of a joint histogram and its derivative by each entry.

    Left out of the derivative is what is constant along a row, as a voxel's four shares always sum to its weight.
    """
    total = max(table.sum(), 1e-30)
    p = table / total
    (log_both, h_both), (log_warped, h_warped), h_fixed = _entropies(p), _entropies(p.sum(0)), _entropies(p.sum(1))[1]
    if not normalised:
        return h_both - h_fixed - h_warped, (log_warped - log_both) / total
    nmi = (h_fixed + h_warped) / h_both if h_both > LEAST_NATS else 1.0
    h_both = max(h_both, LEAST_NATS)
    return 2 - nmi, (log_warped - nmi * log_both) / (h_both * total)


def _histogram_reference(
    fixed_bins: Tensor, warped: Tensor, low: float, rate: float, bins: int, weights: list[Tensor]
) -> Tensor:
    """The twin of the kernel in plain torch: four scattered additions, no table of voxels by bins."""
    u = 1 + ((warped - low) * rate).clamp(0, bins - 3)
    first = u.detach().floor().clamp(max=bins - 3)
    s = u - first
    at = fixed_bins.long() * bins + first.long() - 1
    shares = [(1 - s) ** 3, 3 * s**3 - 6 * s**2 + 4, -3 * s**3 + 3 * s**2 + 3 * s + 1, s**3]
    table = warped.new_zeros(bins * bins)
    whole = torch.stack(weights).prod(0) / 6 if weights else 1 / 6
    for k, share in enumerate(shares):
        table = table.index_add(0, at + k, share * whole)
    return table.view(bins, bins)


def information_of_pose(
    points: Tensor, bins: Tensor, image: Tensor, valid: Tensor, pose: Tensor, n_bins: int
) -> tuple[Tensor, Tensor]:
    """(share of the points inside, MI in nats over those) of scattered samples.

    points: (N, 3) index z y x; bins: (N,) of the sampled image; image, valid: (Z, Y, X), image in units of bins;
    pose: (3, 4), sampled index -> image index, by which the MI can be differentiated.
    The twin of deformgan.kernels.joint_histogram in plain torch.
    """
    landed = points @ pose[:, :3].T + pose[:, 3]
    size = torch.tensor(image.shape, device=image.device)
    nearest = (landed.detach() + 0.5).floor().long()
    inside = ((nearest >= 0) & (nearest < size)).all(1)
    nearest = nearest.clamp(min=0).minimum(size - 1)
    inside &= valid[nearest[:, 0], nearest[:, 1], nearest[:, 2]] > 0
    grid = sampling_grid(landed[inside].T[None, :, :, None, None], tuple(image.shape))
    values = functional.grid_sample(image[None, None], grid, padding_mode="border", align_corners=False).flatten()
    low = values.detach().long().clamp(max=n_bins - 2)
    right, at = values - low, bins[inside] * n_bins + low
    joint = values.new_zeros(n_bins * n_bins).index_add(0, at, 1 - right).index_add(0, at + 1, right)
    eye = torch.eye(n_bins, dtype=values.dtype, device=values.device)
    ends = torch.cat([eye[:1], eye, eye[-1:]])
    parzen = 0.25 * (ends[:-2] + ends[2:]) + 0.5 * eye
    p = parzen.T @ joint.view(n_bins, n_bins) @ parzen / inside.sum().clamp(min=1)
    independent = p.sum(1, keepdim=True) * p.sum(0, keepdim=True)
    kept = p > 1e-12
    return inside.to(values.dtype).mean(), (p[kept] * torch.log(p[kept] / independent[kept])).sum()
