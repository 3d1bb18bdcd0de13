"""The configuration of MR -> CT synthesis, its defaults those of the paper (Hiasa et al. 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from deformgan.config.fields import (
    Adversarial,
    Count,
    Frozen,
    Name,
    Positive,
    Seed,
    Share,
    TrainingConfig,
    Weight,
)

Plane = Literal["axial", "coronal", "sagittal"]
Range = tuple[float, float]
Shape = Annotated[tuple[Count, ...], Field(min_length=2, max_length=3)]


class ViewConfig(Frozen):
    """How the networks see an image.

    shape: two numbers, rows and columns: slices of `plane`; three, z y x: patches of a volume.  spacing_mm: pixels of
    the slices, voxels of the patches; null: as the files have them.  ct_window: HU; mr_window: intensities; null: the
    robust range of each image, also for a "CT" that holds no HU; what lies beyond is clipped.
    """

    plane: Plane = "axial"
    shape: Shape = (256, 256)
    spacing_mm: Positive | None = None
    ct_window: Range | None = (-150.0, 350.0)
    mr_window: Range | None = (0.0, 100.0)

    @model_validator(mode="after")
    def _low_below_high(self) -> ViewConfig:
        for name in ("ct_window", "mr_window"):
            window = getattr(self, name)
            if window is not None and not window[0] < window[1]:
                raise ValueError(f"{name} must be [low, high], got {list(window)}")
        return self


class SynthesisDataConfig(ViewConfig):
    """Volumes of which slices or patches are drawn.

    manifest: what `deformgan prepare` wrote (docs/synthesis.md).  mr_images, ct_images: instead, files or patterns of
    two lists that need not show the same people; cyclegan only.  cache: folder of the volumes ready to draw from.
    validation: share of each list held out.  people: train on so many of each list, drawn by the seed; null: on all.
    """

    manifest: Path | None = None
    mr_images: tuple[str, ...] = ()
    ct_images: tuple[str, ...] = ()
    cache: Path = Path("cache")
    validation: Share = 0.0
    people: Count | None = None

    @model_validator(mode="after")
    def _one_source(self) -> SynthesisDataConfig:
        if self.manifest and (self.mr_images or self.ct_images):
            raise ValueError("give a manifest or lists of images, not both")
        if not self.manifest and not (self.mr_images and self.ct_images):
            raise ValueError("give data.manifest (see deformgan prepare), or both mr_images and ct_images")
        return self


class ResidualConfig(Frozen):
    """The generators.  channels: of the first layer; blocks: residual ones."""

    channels: Count = 64
    blocks: Count = 9
    norm: bool = True
    recompute: bool = False


class PatchConfig(Frozen):
    """The discriminators; the defaults are the 70 x 70 PatchGAN.  layers: strided ones."""

    channels: Count = 64
    layers: Annotated[int, Field(ge=1, le=6)] = 3


class CycleganLossConfig(Frozen):
    """Weights of Eq. 6; form: of the adversarial losses.  gc: 0 leaves gradient consistency out.

    lg: of the same with 1 - LG of Deform-GAN in place of 1 - GC, for contrasts whose edges do not agree in sign.
    """

    form: Adversarial = "least_squares"
    adversarial: Weight = 1.0
    cycle: Weight = 3.0
    gc: Weight = 0.3
    lg: Weight = 0.0


class ConditionalLossConfig(Frozen):
    """Weights of L_adv + lambda_L1 L1 + lambda_GC L_GC; gc is a tenth of l1, as in the unpaired form."""

    form: Adversarial = "least_squares"
    adversarial: Weight = 1.0
    l1: Weight = 100.0
    gc: Weight = 10.0


class SynthesisOptimiserConfig(Frozen):
    """Adam.  The rates fall linearly to zero over the last `decay` share of the steps.  clip: of gradients, or null."""

    generator: Positive = 2e-4
    discriminator: Positive = 2e-4
    betas: tuple[Share, Share] = (0.5, 0.999)
    clip: Positive | None = None
    decay: Share = 0.5


class SynthesisTrainingConfig(TrainingConfig):
    """As for registration; validation_slices: how many of the held-out volumes are looked at."""

    steps: Count = 200_000
    validate_every: Count = 2000
    save_every: Count = 2000
    validation_slices: Count = 32


class SynthesisConfig(Frozen):
    """What both forms have.  Paths are as seen from the configuration's folder; `out` from where the command runs."""

    name: Name
    out: Path | None = None
    seed: Seed = 0
    data: SynthesisDataConfig
    generator: ResidualConfig = ResidualConfig()
    discriminator: PatchConfig = PatchConfig()
    optimiser: SynthesisOptimiserConfig = SynthesisOptimiserConfig()
    training: SynthesisTrainingConfig = SynthesisTrainingConfig()

    @property
    def folder(self) -> Path:
        """Where the run is written."""
        return self.out or Path("runs") / self.name


class CycleganConfig(SynthesisConfig):
    """MR and CT of any people: CycleGAN with gradient consistency.

    pool: past fakes, of either kind, that the discriminators are shown again.
    """

    task: Literal["cyclegan"] = "cyclegan"
    pool: Annotated[int, Field(ge=0)] = 50
    loss: CycleganLossConfig = CycleganLossConfig()

    def seen_from(self, folder: Path) -> CycleganConfig:
        """The same with the data's relative paths made absolute."""
        return self.model_copy(update={"data": _data_seen_from(self.data, folder)})


class ConditionalConfig(SynthesisConfig):
    """MR and CT of the same people on one grid: a conditional GAN with L1 and gradient consistency."""

    task: Literal["conditional"] = "conditional"
    loss: ConditionalLossConfig = ConditionalLossConfig()

    @model_validator(mode="after")
    def _paired(self) -> ConditionalConfig:
        if self.data.manifest is None:
            raise ValueError("task conditional needs pairs: give data.manifest (see deformgan prepare)")
        return self

    def seen_from(self, folder: Path) -> ConditionalConfig:
        """The same with the data's relative paths made absolute."""
        return self.model_copy(update={"data": _data_seen_from(self.data, folder)})


def _data_seen_from(data: SynthesisDataConfig, folder: Path) -> SynthesisDataConfig:
    return data.model_copy(
        update={
            "manifest": None if data.manifest is None else folder / data.manifest,
            "cache": folder / data.cache,
            "mr_images": tuple(str(folder / p) for p in data.mr_images),
            "ct_images": tuple(str(folder / p) for p in data.ct_images),
        }
    )
