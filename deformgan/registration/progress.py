"""What a running registration tells: where it stands, and how long each stage took."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Progress:
    """Where a registration stands: `done` of `total` iterations of this stage and level, and the similarity loss.

    level: its voxels in mm, or what else is counted; in words when it is shown.
    """

    stage: str
    level: str | float
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
    """Passes on what it is shown, and keeps the loss of every iteration by (stage, level), in their order.

    magnified: how many times larger the images are than they are shown to be.
    """

    show: Show
    magnified: float = 1.0
    losses: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def __call__(self, step: Progress) -> None:
        level = step.level if isinstance(step.level, str) else in_words(step.level / self.magnified)
        if step.total > 1 and math.isfinite(step.loss):
            self.losses.setdefault((step.stage, level), []).append(float(f"{step.loss:.6g}"))
        self.show(replace(step, level=level))


def in_words(voxels_mm: float) -> str:
    """The name of a level."""
    return f"{voxels_mm:.3g} mm"
