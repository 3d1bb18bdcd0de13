"""Which slices or patches a step trains on.  Every draw follows from (seed, step, position)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deformgan.config import ConditionalConfig, CycleganConfig
from deformgan.errors import InputError
from deformgan.io.array_files import map_array
from deformgan.synthesis.volumes import StoredSubject
from deformgan.training.draws import generator_for

Array = NDArray[Any]
Config = CycleganConfig | ConditionalConfig
MR, CT, POOL_MR, POOL_CT = range(4)  # streams of random numbers
NOTHING = -1.0  # the value around a volume that is smaller than the patch: air


@dataclass(frozen=True)
class Batch:
    """mr, ct: (B, 1, *shape) in [-1, 1].  seen: same shape, 1 where both show something; None: they are no pair."""

    mr: Tensor
    ct: Tensor
    seen: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(self.mr.to(device), self.ct.to(device), None if self.seen is None else self.seen.to(device))


@dataclass(frozen=True)
class Stack:
    """Volumes of several people on one grid each: `layers` of one person are mr, ct, seen, or one of them alone."""

    people: Sequence[Sequence[Array | None]]
    shape: tuple[int, ...]

    def drawn(self, rng: torch.Generator) -> list[Tensor | None]:
        """A patch of someone, (1, 1, *shape) of each layer; every slice, or voxel, is as likely as any other."""
        first, *place = torch.rand(4, generator=rng, dtype=torch.float64).tolist()
        sizes = [_size(layers, self.shape) for layers in self.people]
        ends = list(accumulate(sizes))
        person = min(bisect_right(ends, first * ends[-1]), len(ends) - 1)
        return [None if a is None else patch(a, self.shape, place) for a in self.people[person]]

    def spread(self, count: int) -> list[list[Tensor | None]]:
        """About `count` patches in all, evenly along the first axis of everyone, the middle of the others."""
        each = max(1, count // len(self.people))
        places = [((k + 0.5) / each, 0.5, 0.5) for k in range(each)]
        return [
            [None if a is None else patch(a, self.shape, place) for a in layers]
            for layers in self.people
            for place in places
        ]


class Source:
    """Batches by step, and what is held out."""

    def __init__(self, config: Config, subjects: Sequence[StoredSubject]) -> None:
        """Raises InputError where nothing is left to train on."""
        self.config = config
        train = [s for s in subjects if s.split == "train"]
        self._pairs = _pairs(train, config.data.shape)
        self._mr, self._ct = (_alone(train, kind, config.data.shape) for kind in ("mr", "ct"))
        self._held_out = [s for s in subjects if s.split == "validation"]
        needed = (self._pairs,) if config.task == "conditional" else (self._mr, self._ct)
        if not all(stack.people for stack in needed):
            what = "no pair of MR and CT" if config.task == "conditional" else "no MR or no CT"
            raise InputError(f"{what} is left to train on; see `split` in the manifest, and data.validation")

    def batches(self, step: int, process: int, processes: int) -> list[Batch]:
        """What one process does in a step: `accumulate` parts; together all processes fill the global batch."""
        parts = self.config.training.parts(process, processes)
        return [_joined([self._drawn(step, position) for position in part]) for part in parts]

    def validation(self) -> list[Batch]:
        """Of the people held out: those with both images if there are any, else MR and CT beside each other."""
        count, shape = self.config.training.validation_slices, self.config.data.shape
        pairs = _pairs(self._held_out, shape)
        if pairs.people:
            return [_pair(layers) for layers in pairs.spread(count)]
        stacks = [_alone(self._held_out, kind, shape) for kind in ("mr", "ct")]
        if not all(stack.people for stack in stacks):
            return []
        mr, ct = (stack.spread(count) for stack in stacks)
        return [Batch(_there(a), _there(b)) for (a,), (b,) in zip(mr, ct, strict=False)]

    def _drawn(self, step: int, position: int) -> Batch:
        rng = generator_for(self.config.seed, MR, step, position)
        if self.config.task == "conditional":
            return _pair(self._pairs.drawn(rng))
        (mr,), (ct,) = self._mr.drawn(rng), self._ct.drawn(generator_for(self.config.seed, CT, step, position))
        return Batch(_there(mr), _there(ct))


def patch(array: Array, shape: Sequence[int], place: Sequence[float], nothing: float = NOTHING) -> Tensor:
    """(1, 1, *shape) of an array (slices, rows, columns), float32.

    place: in [0, 1) of each axis, which part is taken; an axis that is too short is padded on both sides.  A shape of
    two numbers is one slice.
    """
    whole = (1, *shape) if len(shape) == 2 else tuple(shape)
    parts, pads = [], []
    for n, size, share in zip(array.shape, whole, place, strict=True):
        start = int(share * (n - size + 1)) if n > size else 0
        parts.append(slice(start, start + size))
        lacking = max(0, size - n)
        pads.append((lacking // 2, lacking - lacking // 2))
    nothing = nothing if array.dtype.kind == "f" else 0  # of a mask
    cut = np.pad(array[tuple(parts)].astype(np.float32), pads, constant_values=nothing)
    return torch.from_numpy(cut if len(shape) == 3 else cut[0])[None, None]


def _size(layers: Sequence[Array | None], shape: Sequence[int]) -> int:
    known = next(a for a in layers if a is not None)
    return len(known) if len(shape) == 2 else known.size


def _pairs(subjects: Sequence[StoredSubject], shape: tuple[int, ...]) -> Stack:
    both = [s for s in subjects if s.mr and s.ct]
    paths = [(s.mr, s.ct, s.seen) for s in both]
    return Stack([[map_array(p) if p else None for p in person] for person in paths], shape)


def _alone(subjects: Sequence[StoredSubject], kind: str, shape: tuple[int, ...]) -> Stack:
    return Stack([[map_array(getattr(s, kind))] for s in subjects if getattr(s, kind)], shape)


def _there(x: Tensor | None) -> Tensor:
    assert x is not None
    return x


def _pair(layers: Sequence[Tensor | None]) -> Batch:
    mr, ct, seen = layers
    return Batch(_there(mr), _there(ct), torch.ones_like(_there(mr)) if seen is None else seen)


def _joined(batches: Sequence[Batch]) -> Batch:
    seen = [b.seen for b in batches if b.seen is not None]
    return Batch(
        torch.cat([b.mr for b in batches]), torch.cat([b.ct for b in batches]), torch.cat(seen) if seen else None
    )
