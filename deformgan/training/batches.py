"""Which pairs a step trains on.  Every draw follows from (seed, step, position): nothing is left to be remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from deformgan.config import TrainConfig
from deformgan.errors import InputError
from deformgan.registration.appearance import foreground
from deformgan.training.augment import cropped, flipped, moved, recoloured
from deformgan.training.draws import generator_for
from deformgan.training.generated import generated_pair
from deformgan.training.known_warps import random_warp
from deformgan.training.pictures import Picture, StoredPair

# The streams of random numbers that a step and a position may need, apart from each other.
KIND, PAIR, VALIDATION = range(3)
VALIDATION_GENERATED = 4  # pairs to validate on, where no real pair is held out
VALIDATION_WARPS = 3  # planted in each held-out pair
PLACES = (0.5, 0.5, 0.5)  # of a picture too large for the working shape, where nothing is drawn


@dataclass(frozen=True)
class Batch:
    """Pairs of one kind, all (B, ..., Z, Y, X) on one working grid.

    fixed, moving: (B, 1, ...) in [0, 1]; valid: 1 where an image has a value; tissue: of the fixed image, where the
    distance to the truth counts (in air there is nothing to see).  known: (B, 3, ...) voxels, the planted
    warp, or None where the two do not lie on each other.  labels: (B, 1, ...) int64, or None.  generated: the contrasts
    are random, so G and D have nothing to learn from them.  seeds: of random choices that a loss makes, one a pair.
    """

    fixed: Tensor
    moving: Tensor
    fixed_valid: Tensor
    moving_valid: Tensor
    tissue: Tensor
    known: Tensor | None
    fixed_labels: Tensor | None
    moving_labels: Tensor | None
    generated: bool
    seeds: tuple[int, ...]

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)})  # type: ignore[arg-type]


class Source:
    """Batches by step, and the pairs that are held out."""

    def __init__(self, config: TrainConfig, pairs: Sequence[StoredPair]) -> None:
        """pairs: all of them.  Raises InputError where none is left to train on."""
        self.config = config
        self.train = [p for p in pairs if p.split == "train"]
        self.held_out = [p for p in pairs if p.split == "validation"]
        if not self.train and config.generated.share < 1:
            raise InputError("no pair is left to train on; lower data.validation or mark rows 'train' in the manifest")

    def batches(self, step: int, process: int, processes: int) -> list[Batch]:
        """What one process does in a step: `accumulate` parts; together all processes fill the global batch."""
        generated = bool(torch.rand((), generator=self._rng(KIND, step, 0)) < self.config.generated.share)
        return [self._batch(step, part, generated) for part in self.config.training.parts(process, processes)]

    def validation(self) -> list[Batch]:
        """The held-out pairs, each under planted warps that stay the same; generated ones where there are none."""
        if self.held_out:
            warps = range(VALIDATION_WARPS)
            drawn = [(pair, self._rng(VALIDATION, k, w)) for k, pair in enumerate(self.held_out) for w in warps]
            return [self._real(pair, rng, vary=False) for pair, rng in drawn]
        return [self._made(self._rng(VALIDATION, 0, k)) for k in range(VALIDATION_GENERATED)]

    def _rng(self, stream: int, step: int, position: int) -> torch.Generator:
        return generator_for(self.config.seed, stream, step, position)

    def _batch(self, step: int, positions: range, generated: bool) -> Batch:
        rngs = [self._rng(PAIR, step, k) for k in positions]
        if generated:
            return _joined([self._made(rng) for rng in rngs])
        turns = [step * self.config.training.batch + k for k in positions]
        return _joined([self._real(self._pair(n), rng, vary=True) for n, rng in zip(turns, rngs, strict=True)])

    def _pair(self, turn: int) -> StoredPair:
        """Each pair once in every round, in another order each round."""
        round_, place = divmod(turn, len(self.train))
        return self.train[_order(self.config.seed, round_, len(self.train))[place]]

    def _made(self, rng: torch.Generator) -> Batch:
        data = self.config.data
        fixed, moving, known = generated_pair(
            data.shape, data.spacing_mm, self.config.generated, self.config.augmentation, rng
        )
        return _batch_of(fixed, moving, fixed.valid, known, rng, generated=True)

    def _real(self, pair: StoredPair, rng: torch.Generator, *, vary: bool) -> Batch:
        """A stored pair under a random warp of its moving image; with `vary`, flips, contrasts and crops, too."""
        data, augmentation = self.config.data, self.config.augmentation
        place = torch.rand(3, generator=rng).tolist() if vary else PLACES
        fixed, moving = (p.to_shape(data.shape, place) for p in pair.load())
        if vary and augmentation.flip and torch.rand((), generator=rng) < 0.5:
            fixed, moving = flipped(fixed), flipped(moving)
        tissue = foreground(fixed.image, ct=False)
        known = random_warp(data.shape, data.spacing_mm, augmentation, rng)
        moving = moved(moving, known)
        if vary:
            fixed, moving = (
                cropped(recoloured(p, data.spacing_mm, augmentation, rng), augmentation, rng) for p in (fixed, moving)
            )
        return _batch_of(fixed, moving, tissue, known if pair.known else None, rng, generated=False)


@lru_cache(maxsize=4)
def _order(seed: int, round_: int, count: int) -> list[int]:
    order: list[int] = np.random.default_rng([seed, round_]).permutation(count).tolist()
    return order


def _batch_of(
    fixed: Picture, moving: Picture, tissue: Tensor, known: Tensor | None, rng: torch.Generator, *, generated: bool
) -> Batch:
    both = fixed.labels is not None and moving.labels is not None
    return Batch(
        fixed.image,
        moving.image,
        fixed.valid,
        moving.valid,
        tissue * fixed.valid,
        known,
        fixed.labels if both else None,
        moving.labels if both else None,
        generated,
        (int(torch.randint(2**31, (), generator=rng)),),
    )


def _joined(batches: Sequence[Batch]) -> Batch:
    """One batch of several; known warps and labels are kept where all have them."""

    def stacked(name: str) -> Tensor | None:
        parts = [getattr(b, name) for b in batches]
        return None if any(p is None for p in parts) else torch.cat(parts)

    tensors = {f.name: stacked(f.name) for f in fields(Batch) if f.name not in ("generated", "seeds")}
    return Batch(**tensors, generated=batches[0].generated, seeds=tuple(s for b in batches for s in b.seeds))  # type: ignore[arg-type]
