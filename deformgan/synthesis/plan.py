"""What `synthesize` would do with an image: checked as `translate` does, and nothing computed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from deformgan.cost import Cost, of_networks
from deformgan.io.volume import Volume
from deformgan.networks.size import size_of
from deformgan.synthesis.intensity import window_of
from deformgan.synthesis.models import SynthesisModel
from deformgan.synthesis.orientation import Orientation
from deformgan.synthesis.translate import patches


def cost_of_translation(model: SynthesisModel, image: Volume, name: str) -> Cost:
    """Of an MR.  Raises InputError for intensities outside of what the model has seen."""
    data = model.config.data
    window_of("mr", image.tensor, data, name)
    size = size_of(model.network(), torch.empty(1, 1, *data.shape))
    passes = passes_over(Orientation.of(image.geometry, data).shape, data.shape)
    return of_networks(passes * size.work, passes * size.numbers, image.tensor.numel())


def passes_over(seen: Sequence[int], shape: Sequence[int]) -> int:
    """Patches of `shape`, two axes or three, that cover an image (slices, rows, columns), one slice at a time."""
    along = seen[len(seen) - len(shape) :]
    slices = seen[0] if len(shape) == 2 else 1
    return slices * math.prod(patches(n, size) for n, size in zip(along, shape, strict=True))
