"""The configuration of segmentation, its defaults those of the paper (Hiasa et al. 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from deformgan.config.fields import Channels, Count, Frozen, Name, Positive, Seed, Share, TrainingConfig, Weight
from deformgan.config.synthesis import ViewConfig

Kind = Literal["mr", "ct"]
Values = Annotated[tuple[int, ...], Field(min_length=1)]


class SegmentationDataConfig(ViewConfig):
    """Labelled people, and the channels that the network sees.

    manifest: what `deformgan prepare` wrote, with labels.  channels: both, one real and the other made of it by the
    model `synthesis` (a run's folder or a file, task cyclegan); or one alone.  real: of both, the one that the people
    who train have.  With `synthesis` the view (plane, spacing_mm, windows; not shape) is that model's.  folds: 0 =
    the manifest's split; K: everyone is drawn into one of K, whatever the split, and `fold` is held out.
    """

    manifest: Path
    cache: Path = Path("cache")
    channels: Annotated[tuple[Kind, ...], Field(min_length=1, max_length=2)] = ("ct", "mr")
    synthesis: Path | None = None
    real: Kind = "ct"
    shape: tuple[Count, Count] = (256, 256)
    folds: Annotated[int, Field(ge=0)] = 0
    fold: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _fits(self) -> SegmentationDataConfig:
        both = len(self.channels) == 2
        if both and set(self.channels) != {"ct", "mr"}:
            raise ValueError("channels are [ct, mr], [ct] or [mr]")
        if both != (self.synthesis is not None):
            raise ValueError(
                "two channels need data.synthesis, the model that makes one of the other"
                if both
                else "data.synthesis goes with two channels; leave it out"
            )
        fixed = ("plane", "spacing_mm", "ct_window", "mr_window")
        if both and (given := [k for k in fixed if getattr(self, k) != type(self).model_fields[k].default]):
            raise ValueError(f"{given[0]} is that of the model data.synthesis; leave it out")
        if self.folds == 1 or (self.fold and self.fold >= self.folds):
            raise ValueError("folds must be 0 or at least 2, and fold be less than folds")
        return self

    @property
    def trained_on(self) -> Kind:
        """The kind of image that the people who train have."""
        return self.real if len(self.channels) == 2 else self.channels[0]


class NetworkConfig(Frozen):
    """The U-Net.  channels: of each level, fine to coarse."""

    channels: Channels = (32, 64, 128, 256, 256)
    recompute: bool = False


class SegmentationLossConfig(Frozen):
    """Weights of 1 - soft Dice, the mean over the structures, and of the cross-entropy."""

    dice: Weight = 1.0
    cross_entropy: Weight = 1.0


class VariationConfig(Frozen):
    """Slices varied at random, up to so much either way: turned, scaled, shifted (share of the slice), gamma (log)."""

    degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    scale: Annotated[float, Field(ge=0, lt=0.9)] = 0.1
    shift: Share = 0.05
    gamma: Weight = 0.2


class SegmentationOptimiserConfig(Frozen):
    """Adam; the rate falls linearly to zero over the last `decay` share of the steps.  clip: of gradients, or null."""

    rate: Positive = 1e-4
    betas: tuple[Share, Share] = (0.9, 0.999)
    clip: Positive | None = None
    decay: Share = 0.0


class SegmentationTrainingConfig(TrainingConfig):
    """As for registration; validation_slices: how many of the held-out volumes are looked at."""

    steps: Count = 100_000
    batch: Count = 4
    validate_every: Count = 2000
    save_every: Count = 2000
    validation_slices: Count = 128


class SegmentationConfig(Frozen):
    """A 2-D U-Net that finds structures.  Paths are as seen from the configuration's folder.

    structures: name -> values of the labels that it is made of; the first of them stands for it in the results.
    """

    task: Literal["segmentation"] = "segmentation"
    name: Name
    out: Path | None = None
    seed: Seed = 0
    data: SegmentationDataConfig
    structures: Annotated[dict[Name, Values], Field(min_length=1, max_length=255)]
    network: NetworkConfig = NetworkConfig()
    loss: SegmentationLossConfig = SegmentationLossConfig()
    augmentation: VariationConfig = VariationConfig()
    optimiser: SegmentationOptimiserConfig = SegmentationOptimiserConfig()
    training: SegmentationTrainingConfig = SegmentationTrainingConfig()

    @field_validator("structures", mode="after")
    @classmethod
    def _in_order(cls, structures: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """By their first values: what the network's outputs mean must not depend on the order in the file."""
        return dict(sorted(structures.items(), key=lambda item: item[1][0]))

    @model_validator(mode="after")
    def _apart(self) -> SegmentationConfig:
        seen: dict[int, str] = {0: "the background"}
        for name, values in self.structures.items():
            for value in values:
                if value in seen:
                    raise ValueError(f"structures: label {value} of {name} is that of {seen[value]}")
                seen[value] = name
        return self

    @property
    def folder(self) -> Path:
        """Where the run is written."""
        return self.out or Path("runs") / self.name

    def seen_from(self, folder: Path) -> SegmentationConfig:
        """The same with the data's relative paths made absolute."""
        paths = {name: folder / getattr(self.data, name) for name in ("manifest", "cache")}
        paths["synthesis"] = None if self.data.synthesis is None else folder / self.data.synthesis
        return self.model_copy(update={"data": self.data.model_copy(update=paths)})
