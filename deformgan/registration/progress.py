"""What a running registration tells: where it stands, and how long each stage took."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """Where a registration stands: `done` of `total` iterations of this stage and level, and the similarity loss."""

    stage: str
    level: str
    done: int
    total: int
    loss: float


Show = Callable[[Progress], None]


def silent(step: Progress) -> None:
    """Show nothing."""


@dataclass
class Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to `name`."""
        begin = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


@dataclass
class Curve:
    """Passes on what it is shown, and keeps the loss of every iteration by (stage, level), in their order."""

    show: Show
    losses: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def __call__(self, step: Progress) -> None:
        if step.total > 1 and math.isfinite(step.loss):
            self.losses.setdefault((step.stage, step.level), []).append(float(f"{step.loss:.6g}"))
        self.show(step)
