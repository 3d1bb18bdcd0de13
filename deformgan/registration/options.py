"""What a registration can be told, and the presets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from deformgan.errors import InputError, check_choice
from deformgan.spatial.ranges import Ranges

Stage = Literal["rigid", "affine", "deformable"]
ENGINES = ("analytic", "autograd")
STAGES: tuple[Stage, ...] = ("rigid", "affine", "deformable")


@dataclass(frozen=True)
class Preset:
    """levels: (voxel in mm, iterations), coarse to fine, of the deformable stage; samples of the affine stage."""

    levels: tuple[tuple[float, int], ...]
    samples: int


PRESETS = {
    "fast": Preset(((6.0, 30), (4.0, 30), (2.0, 30)), 20_000),
    "default": Preset(((6.0, 40), (4.0, 40), (2.0, 60), (1.4, 16), (1.0, 10)), 30_000),
    "accurate": Preset(((8.0, 60), (4.0, 80), (2.0, 80), (1.0, 60)), 60_000),
}


@dataclass(frozen=True)
class RegisterOptions:
    """How to register.

    stage: how far to go.  preset: fast, default or accurate.  similarity: of the deformable stage, such as
    "lg=1,gc=0.5", with a bridge "bridge=1,gc=0.5"; None = chosen by the kind of pair.
    engine: of the rigid and affine stages, "analytic" or "autograd" (slower; the same to rounding).
    max_rotation: degrees about each axis; max_shift: mm along each axis; max_scale: a factor, 1.2 = 1 / 1.2 to 1.2:
    how far start and affine may go from the headers' position, about the tissue's centre; None = anywhere.
    search: try many positions first; False = only what climbs from the headers' position reach.
    model: a trained T that predicts the displacement: the name of one that ships, a file, or a training run's folder;
    "auto" = whichever of those that ship serves the pair best, if any; None = none.
    refine: go on from its prediction as without a model.
    device: "cpu", "cuda" or another torch device, of the deformable stage.  threads: 0 = all cores.  seed: of the
    samples; the same seed gives the same bytes on a CPU.

    >>> from deformgan import RegisterOptions
    >>> options = RegisterOptions(preset="fast", stage="affine", max_rotation=30)
    """

    stage: Stage = "deformable"
    preset: str = "default"
    similarity: str | None = None
    engine: str = "analytic"
    max_rotation: float | None = None
    max_shift: float | None = None
    max_scale: float | None = None
    search: bool = True
    model: str | None = None
    refine: bool = True
    device: str = "cpu"
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("stage", self.stage, STAGES)
        check_choice("preset", self.preset, PRESETS)
        check_choice("engine", self.engine, ENGINES)
        if self.threads < 0:
            raise InputError(f"threads must be 0 (all cores) or more; got {self.threads}")
        for name, least in (("max_rotation", 0.0), ("max_shift", 0.0), ("max_scale", 1.0)):
            value = getattr(self, name)
            if value is not None and not least < value < math.inf:
                raise InputError(f"{name} must be above {least:g}; got {value:g}")
        if self.similarity is not None:
            from deformgan.registration.bridge import parted  # brings torch

            parted(self.similarity)

    def ranges(self, magnified: float) -> Ranges:
        """Of the affine map's parameters, between images that are `magnified` times larger than those given."""
        shift = None if self.max_shift is None else self.max_shift * magnified
        return Ranges(self.max_rotation, shift, self.max_scale)
