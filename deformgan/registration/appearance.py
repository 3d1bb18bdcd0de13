"""What an image's intensities say before any alignment: its kind, its window, its foreground."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from deformgan.errors import RegistrationError
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.spatial.pyramid import gaussian_smooth, shrunk_shape, smooth_and_shrink

CT_WINDOW = (-250.0, 350.0)  # HU: air and lung to one end, dense bone to the other
CT_BODY = -150.0  # HU
FEWEST_VOXELS = 4  # along an axis of a shrunk image


@dataclass(frozen=True)
class Appearance:
    """An image scaled to [0, 1] within its window, on its grid.

    image: (1, 1, Z, Y, X).  foreground: same shape, 1 where there is tissue, 0 where there is air, padding or nothing.
    valid: same shape, 1 where the voxel may be used (the user's mask), None where all may.  ct: Hounsfield units.
    shrunk: image and foreground by the shape they were shrunk to, as several stages ask for the same.
    """

    image: Tensor
    geometry: Geometry
    foreground: Tensor
    valid: Tensor | None
    ct: bool
    shrunk: dict[tuple[int, ...], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, volume: Volume, mask: Volume | None, device: torch.device) -> Appearance:
        """From a volume and a mask on the same grid.  Raises RegistrationError where no contrast is left."""
        raw = volume.tensor.to(device=device, dtype=torch.float32)[None, None]
        ct = looks_like_ct(raw)
        low, high = CT_WINDOW if ct else robust_range(raw)
        if not high > low:
            raise RegistrationError("an image has no contrast inside its robust intensity range; check the file")
        image = ((raw - low) / (high - low)).clamp_(0, 1)
        valid = None if mask is None else (mask.tensor.to(device) > 0).float()[None, None]
        return cls(image, volume.geometry, foreground(image, ct), valid, ct)

    def at(self, spacing_mm: float) -> Appearance:
        """Smoothed and shrunk to voxels of about `spacing_mm`; never below an axis' own spacing."""
        factors = factors_at(self.geometry, spacing_mm)
        shape = shrunk_shape(self.geometry.shape, factors)
        if shape == self.geometry.shape:
            return self
        if shape not in self.shrunk:
            self.shrunk[shape] = smooth_and_shrink(self.image, factors), _nearest(self.foreground, shape)
        valid = None if self.valid is None else _nearest(self.valid, shape)
        return Appearance(
            self.shrunk[shape][0], self.geometry.resized(shape[::-1]), self.shrunk[shape][1], valid, self.ct
        )


def factors_at(grid: Geometry, spacing_mm: float) -> list[float]:
    """By how much each axis (z, y, x) of a grid is shrunk for voxels of about `spacing_mm`."""
    axes = zip(grid.spacing[::-1], grid.shape, strict=True)
    return [min(max(1.0, spacing_mm / s), max(1.0, n / FEWEST_VOXELS)) for s, n in axes]


def _nearest(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.nn.functional.interpolate(mask, size=shape, mode="nearest-exact")


def looks_like_ct(raw: Tensor) -> bool:
    """Whether the values look like Hounsfield units: a good share of them at the value of air or of padding."""
    sample = raw.flatten()[:: max(1, raw.numel() // 100_000)]
    return bool(raw.min() < -500 and (sample < -400).float().mean() > 0.01)


def robust_range(raw: Tensor) -> tuple[float, float]:
    """(low, high) that tissue fills: the 0.5 % quantile, and the 99 % quantile of what is brighter than the mean."""
    sample = raw.flatten()[:: max(1, raw.numel() // 200_000)]
    bright = sample[sample > sample.mean()]
    if bright.numel() == 0:
        return float(raw.min()), float(raw.max())
    return float(torch.quantile(sample, 0.005)), float(torch.quantile(bright, 0.99))


def foreground(image: Tensor, ct: bool) -> Tensor:
    """1 for tissue, 0 for air, padding and missing field of view; image (1, 1, Z, Y, X) in [0, 1]."""
    threshold = (CT_BODY - CT_WINDOW[0]) / (CT_WINDOW[1] - CT_WINDOW[0]) if ct else 0.5 * otsu_threshold(image)
    tissue = (gaussian_smooth(image, 1.0) > threshold).float()
    return tissue if tissue.any() else torch.ones_like(tissue)


def otsu_threshold(image: Tensor, bins: int = 128) -> float:
    """The threshold that best parts the histogram of values in [0, 1] in two (Otsu 1979)."""
    counts = torch.histc(image, bins, 0, 1).double().cpu().numpy()
    centres = (np.arange(bins) + 0.5) / bins
    weight, mass = np.cumsum(counts), np.cumsum(counts * centres)
    rest = weight[-1] - weight
    split = (weight > 0) & (rest > 0)
    between = np.zeros(bins)
    between[split] = (mass[-1] * weight[split] / weight[-1] - mass[split]) ** 2 / (weight[split] * rest[split])
    return float(centres[int(np.argmax(between))])
