"""Which slices a step trains on, varied.  Every draw follows from (seed, step, position)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deformgan.config import SegmentationConfig, VariationConfig
from deformgan.io.array_files import map_array
from deformgan.segmentation.people import StoredPerson
from deformgan.spatial.warp import warp
from deformgan.synthesis.batches import NOTHING, Stack
from deformgan.synthesis.intensity import Kind
from deformgan.training.draws import generator_for

SLICES = 0  # stream of random numbers


@dataclass(frozen=True)
class Batch:
    """image: (B, channels, rows, columns) in [-1, 1].  codes: (B, rows, columns) int64, 0 the background."""

    image: Tensor
    codes: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(self.image.to(device), self.codes.to(device))


class Source:
    """Batches by step, and what is held out."""

    def __init__(self, config: SegmentationConfig, people: Sequence[StoredPerson]) -> None:
        self.config = config
        self._train = _stack(config, [p for p in people if p.split != "validation"])
        self._held_out = {
            kind: _stack(config, [p for p in people if p.split == "validation" and p.kind == kind])
            for kind in config.data.channels
        }

    def batches(self, step: int, process: int, processes: int) -> list[Batch]:
        """What one process does in a step: `accumulate` parts; together all processes fill the global batch."""
        parts = self.config.training.parts(process, processes)
        return [_joined([self._drawn(step, position) for position in part]) for part in parts]

    def validation(self) -> dict[Kind, list[Batch]]:
        """Slices of the people held out, by the kind of their real image; only kinds that there are."""
        count = self.config.training.validation_slices
        stacks = {kind: stack for kind, stack in self._held_out.items() if stack.people}
        return {kind: [_batch(layers) for layers in stack.spread(count)] for kind, stack in stacks.items()}

    def _drawn(self, step: int, position: int) -> Batch:
        rng = generator_for(self.config.seed, SLICES, step, position)
        return varied(_batch(self._train.drawn(rng)), self.config.augmentation, rng)


def varied(batch: Batch, config: VariationConfig, rng: torch.Generator) -> Batch:
    """One slice (B = 1) turned, scaled and shifted together with its codes, and each channel with another gamma."""
    angle, scale, down, along, *gammas = (
        2 * torch.rand(4 + batch.image.shape[1], generator=rng, dtype=torch.float64) - 1
    ).tolist()
    shape = batch.image.shape[2:]
    turn, size = math.radians(config.degrees * angle), math.exp(config.scale * scale)
    y, x = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    cos, sin = size * math.cos(turn), size * math.sin(turn)
    moves = (config.shift * down * shape[0], config.shift * along * shape[1])
    u = torch.stack([cos * y - sin * x - y + moves[0], sin * y + cos * x - x + moves[1]])[None]
    image = (warp(batch.image, u, outside=NOTHING) + 1) / 2
    exponents = torch.tensor([math.exp(config.gamma * g) for g in gammas]).view(1, -1, 1, 1)
    codes = warp(batch.codes[:, None], u, mode="nearest", outside=0)[:, 0]
    return Batch(2 * image.clamp(0, 1) ** exponents - 1, codes)


def _stack(config: SegmentationConfig, people: Sequence[StoredPerson]) -> Stack:
    return Stack([[*map_array(p.image), map_array(p.codes)] for p in people], config.data.shape)


def _batch(layers: Sequence[Tensor | None]) -> Batch:
    *channels, codes = [layer for layer in layers if layer is not None]
    return Batch(torch.cat(channels, 1), codes[:, 0].long())


def _joined(batches: Sequence[Batch]) -> Batch:
    return Batch(torch.cat([b.image for b in batches]), torch.cat([b.codes for b in batches]))
