"""Endless pairs from label maps with random contrasts, so that T learns alignment whatever the modality.

In the manner of SynthMorph (Hoffmann et al. 2022) and SynthSeg (Billot et al. 2023): the shapes are one, each image
gives every label an intensity of its own; then blur, bias, gamma and noise.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from deformgan.config import AugmentationConfig, GeneratedConfig
from deformgan.io.formats import read_volume
from deformgan.registration.working_grid import working_grid
from deformgan.spatial.pyramid import gaussian_smooth
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Transform
from deformgan.spatial.warp import warp
from deformgan.training.augment import cropped, moved, recoloured
from deformgan.training.known_warps import random_warp, smooth_unit_field
from deformgan.training.pictures import Picture

WITHIN = 0.05  # spread of the intensities inside a label
EMPTY = 0.5  # how often the background is black


def generated_pair(
    shape: tuple[int, ...],
    spacing_mm: float,
    config: GeneratedConfig,
    augmentation: AugmentationConfig,
    rng: torch.Generator,
) -> tuple[Picture, Picture, Tensor]:
    """(fixed, moving, known): moving shows the fixed image's labels at x + known(x), (1, 3, *shape) in voxels."""
    labels = _labels(shape, spacing_mm, config, augmentation, rng)
    known = random_warp(shape, spacing_mm, augmentation, rng)
    still = Picture(torch.zeros_like(labels, dtype=torch.float32), torch.ones(labels.shape), labels)
    both = (still, moved(still, known))
    fixed, moving = (_shown(p, spacing_mm, config, augmentation, rng) for p in both)
    return fixed, moving, known


def _labels(
    shape: tuple[int, ...],
    spacing_mm: float,
    config: GeneratedConfig,
    augmentation: AugmentationConfig,
    rng: torch.Generator,
) -> Tensor:
    """(1, 1, *shape) int64: random shapes, or a given label map in a random place and form."""
    if not config.label_maps:
        blobs = smooth_unit_field(shape, config.blobs_mm / 2 / spacing_mm, rng, config.labels)
        return blobs.argmax(1, keepdim=True)
    which = int(torch.randint(len(config.label_maps), (), generator=rng))
    whole = _read(config.label_maps[which], spacing_mm)
    place = torch.rand(3, generator=rng).tolist()
    still = Picture(torch.zeros(whole.shape), torch.ones(whole.shape), whole).to_shape(shape, place)
    assert still.labels is not None
    return warp(still.labels, random_warp(shape, spacing_mm, augmentation, rng), mode="nearest")


@lru_cache(maxsize=64)
def _read(path: str, spacing_mm: float) -> Tensor:
    """(1, 1, Z, Y, X) int64 on cubic voxels, numbered from 0 without gaps."""
    volume = read_volume(path, kind="labels")
    grid = working_grid(volume.geometry, volume.geometry, np.eye(4), spacing_mm)
    moved_labels = resample(volume, Transform.identity(), grid, interpolation="nearest").tensor
    return torch.unique(moved_labels, return_inverse=True)[1][None, None]


def _shown(
    picture: Picture,
    spacing_mm: float,
    config: GeneratedConfig,
    augmentation: AugmentationConfig,
    rng: torch.Generator,
) -> Picture:
    """The labels in a random contrast, [0, 1]."""
    assert picture.labels is not None
    means = torch.rand(int(picture.labels.max()) + 1, generator=rng)
    if float(torch.rand((), generator=rng)) < EMPTY:
        means[0] = 0
    image = means[picture.labels] + WITHIN * torch.randn(picture.labels.shape, generator=rng)
    sigma = config.blur_mm / spacing_mm * float(torch.rand((), generator=rng))
    image = _to_unit(gaussian_smooth(image, sigma)) * picture.valid
    shown = recoloured(Picture(image, picture.valid, picture.labels), spacing_mm, augmentation, rng)
    return cropped(shown, augmentation, rng)


def _to_unit(image: Tensor) -> Tensor:
    low, high = image.min(), image.max()
    return (image - low) / (high - low).clamp_min(1e-6)
