"""What the network sees of an image: its channels, one of them perhaps synthesised of the other, and its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deformgan.config import SegmentationConfig, ViewConfig
from deformgan.errors import InputError
from deformgan.io.volume import Volume
from deformgan.registration.progress import Show, silent
from deformgan.synthesis.intensity import Kind, window_of
from deformgan.synthesis.models import SynthesisModel
from deformgan.synthesis.orientation import Orientation
from deformgan.synthesis.translate import seen_translated

Structures = Mapping[str, Sequence[int]]


def view_of(config: SegmentationConfig, synthesis: SynthesisModel | None) -> ViewConfig:
    """How the network sees an image: as the model of synthesis does, where there is one; slices all the same."""
    if synthesis is None:
        return config.data
    seen = synthesis.config.data
    return ViewConfig(
        plane=seen.plane,
        shape=config.data.shape,
        spacing_mm=seen.spacing_mm,
        ct_window=seen.ct_window,
        mr_window=seen.mr_window,
    )


def channels_of(
    config: SegmentationConfig,
    synthesis: SynthesisModel | None,
    image: Volume,
    kind: Kind,
    *,
    name: str,
    device: str = "cpu",
    show: Show = silent,
) -> tuple[Tensor, Orientation]:
    """(channels, slices, rows, columns) in [-1, 1], in the order of the configuration, and how they lie in the image.

    kind: of the image; the other channel is made of it.  Raises InputError where the network knows no such channel.
    """
    if kind not in config.data.channels:
        raise InputError(f"{name}: the model {config.name} knows {config.data.channels[0]} only, not {kind}")
    view = view_of(config, synthesis)
    orientation = Orientation.of(image.geometry, view)
    found = []
    for channel in config.data.channels:
        if channel == kind:
            found.append(orientation.seen(window_of(kind, image.tensor, view, name).scaled(image.tensor)))
            continue
        assert synthesis is not None  # the configuration sees to it
        made, theirs = seen_translated(synthesis, image, channel, name=name, device=device, show=show)
        found.append(made if theirs == orientation else orientation.seen(theirs.back(made)))
    return torch.stack(found), orientation


def codes_of(labels: NDArray[Any], structures: Structures) -> NDArray[np.uint8]:
    """Labels -> 1, 2, ... in the order of the structures, 0 elsewhere; same shape."""
    codes = np.zeros(labels.shape, np.uint8)
    for code, values in enumerate(structures.values(), start=1):
        codes[np.isin(labels, values)] = code
    return codes


def values_of(codes: NDArray[Any], structures: Structures) -> NDArray[np.int32]:
    """The other way: each structure's first label value."""
    return np.array([0, *(values[0] for values in structures.values())], np.int32)[codes]


def seen_codes(codes: NDArray[np.uint8], orientation: Orientation) -> Tensor:
    """(Z, Y, X) of a file -> uint8 (slices, rows, columns): what holds the largest share of each pixel."""
    whole = torch.from_numpy(codes)
    best = orientation.seen((whole == 0).float())
    out = torch.zeros(best.shape, dtype=torch.uint8)
    for code in range(1, int(whole.max()) + 1):
        share = orientation.seen((whole == code).float())
        out[share > best] = code
        best = torch.maximum(best, share)
    return out
