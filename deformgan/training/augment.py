"""Training pairs varied: flips, known warps, contrast, bias, noise, cropped fields of view."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from deformgan.config import AugmentationConfig
from deformgan.spatial.warp import warp
from deformgan.training.known_warps import smooth_unit_field
from deformgan.training.pictures import Picture

BIAS_MM = 60.0  # smoothness of the bias field


def flipped(picture: Picture) -> Picture:
    """Left and right exchanged."""
    labels = None if picture.labels is None else picture.labels.flip(-1)
    return Picture(picture.image.flip(-1), picture.valid.flip(-1), labels)


def moved(picture: Picture, known: Tensor) -> Picture:
    """The picture at x + known(x); what lies outside is not valid."""
    labels = None if picture.labels is None else warp(picture.labels, known, mode="nearest")
    valid = (warp(picture.valid, known) > 0.5).float()
    return Picture(warp(picture.image, known) * valid, valid, labels)


def recoloured(picture: Picture, spacing_mm: float, config: AugmentationConfig, rng: torch.Generator) -> Picture:
    """Another gamma, a bias field and noise; in [0, 1]."""
    gamma = torch.exp(config.gamma * _between_minus_one_and_one(rng))
    image = picture.image.clamp(0, 1) ** gamma
    shape = tuple(image.shape[2:])
    strength = config.bias * torch.rand((), generator=rng)
    image = image * torch.exp(strength * smooth_unit_field(shape, BIAS_MM / spacing_mm, rng))
    sigma = config.noise * torch.rand((), generator=rng)
    image = (image + sigma * torch.randn(image.shape, generator=rng)).clamp(0, 1)
    return replace(picture, image=image * picture.valid)


def cropped(picture: Picture, config: AugmentationConfig, rng: torch.Generator) -> Picture:
    """One end of one axis is missing, up to the share `crop`; in half of the cases nothing is."""
    chance, axis, end, share = torch.rand(4, generator=rng).tolist()
    if chance < 0.5 or config.crop == 0:
        return picture
    dimension = 2 + int(axis * 3)
    size = picture.image.shape[dimension]
    gone = int(size * share * config.crop)
    keep = torch.ones(size)
    keep[:gone] = 0
    keep = (keep if end < 0.5 else keep.flip(0)).view([-1 if a == dimension else 1 for a in range(5)])
    return replace(picture, image=picture.image * keep, valid=picture.valid * keep)


def _between_minus_one_and_one(rng: torch.Generator) -> Tensor:
    return 2 * torch.rand((), generator=rng) - 1
