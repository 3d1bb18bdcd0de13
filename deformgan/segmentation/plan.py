"""What `segment` would do with an image: checked as `predict.segment` does, and nothing computed."""

from __future__ import annotations

import torch

from deformgan.cost import Cost, of_networks
from deformgan.io.volume import Volume
from deformgan.networks.size import size_of
from deformgan.segmentation.channels import check_known, view_of
from deformgan.segmentation.models import SegmentationModel
from deformgan.synthesis.intensity import Kind, window_of
from deformgan.synthesis.orientation import Orientation
from deformgan.synthesis.plan import passes_over


def cost_of_segmentation(model: SegmentationModel, image: Volume, kind: Kind, name: str) -> Cost:
    """Of an image.  Raises InputError for a kind that the model does not know, or intensities it has never seen."""
    config = model.config
    check_known(config, kind, name)
    view = view_of(config, model.synthesis)
    window_of(kind, image.tensor, view, name)
    seen = Orientation.of(image.geometry, view).shape
    channels, shape = len(config.data.channels), config.data.shape
    size = size_of(model.network(), torch.empty(1, channels, *shape))
    passes = [(passes_over(seen, shape), size)]
    if model.synthesis is not None and channels > 1:
        [other] = (channel for channel in config.data.channels if channel != kind)
        theirs = model.synthesis.config.data.shape
        size = size_of(model.synthesis.network(other), torch.empty(1, 1, *theirs))
        passes.append((passes_over(seen, theirs), size))
    work, numbers = (sum(n * getattr(size, what) for n, size in passes) for what in ("work", "numbers"))
    return of_networks(work, numbers, image.tensor.numel())
