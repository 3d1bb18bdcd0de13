"""The configuration of Deform-GAN: T, G and D over pairs of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from deformgan.config.fields import (
    Adversarial,
    Channels,
    Count,
    Frozen,
    Name,
    Positive,
    Seed,
    Share,
    TrainingConfig,
    Weight,
    Window,
)


class AugmentationConfig(Frozen):
    """What is done to a training pair, each with a random strength up to the one named.

    Random smooth warps are those of `motion_mm` (largest displacement) and `smoothness_mm` (largest Gaussian sigma of
    the velocity; the smallest is 0.4 of it), after an affine of `rotation` degrees, `shift_mm` and `scale` (a share):
    what an affine stage leaves.
    """

    motion_mm: Weight = 10.0
    smoothness_mm: Positive = 16.0
    rotation: Weight = 3.0
    shift_mm: Weight = 3.0
    scale: Share = 0.03
    flip: bool = True
    gamma: Share = 0.3
    bias: Share = 0.2
    noise: Share = 0.03
    crop: Share = 0.2


class DataConfig(Frozen):
    """Pairs of a manifest, or two lists of images of which any two make a pair.

    manifest: CSV or JSON; see docs/deform_gan.md.  fixed_images, moving_images: files or patterns, paths as seen from
    the configuration's folder; each is aligned affinely to the first fixed image.  spacing_mm: working grid.
    shape: voxels z, y, x, cut or padded.  same_subject: fixed and moving lie on each other but for the known warps,
    so a distance to the truth can be had.  validation: share of the subjects held out, where no column `split` says.
    """

    manifest: Path | None = None
    fixed_images: tuple[str, ...] = ()
    moving_images: tuple[str, ...] = ()
    cache: Path = Path("cache")
    spacing_mm: Positive = 2.0
    shape: tuple[Count, Count, Count] = (96, 112, 96)
    same_subject: bool = True
    affine: bool = True
    validation: Share = 0.2

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if self.manifest and (self.fixed_images or self.moving_images):
            raise ValueError("give a manifest or lists of images, not both")
        if bool(self.fixed_images) != bool(self.moving_images):
            raise ValueError("fixed_images and moving_images are both needed")
        return self


class GeneratedConfig(Frozen):
    """Pairs made from label maps with random contrasts.

    share: of the steps that use them.  label_maps: files; none = random shapes.  labels: number of random shapes.
    blobs_mm: their size.  blur_mm: at most.
    """

    share: Share = 0.0
    label_maps: tuple[str, ...] = ()
    labels: Annotated[int, Field(ge=2, le=200)] = 16
    blobs_mm: Positive = 24.0
    blur_mm: Weight = 3.0


class TransformationConfig(Frozen):
    """T, see its class.  channels: fine to coarse.  matching: radius, voxels; 0 = none.  passes: looks at the pair."""

    channels: Channels = (16, 32, 32, 32, 32)
    output: Literal["velocity", "displacement"] = "velocity"
    half: bool = True
    matching: Annotated[int, Field(ge=0, le=6)] = 2
    passes: Annotated[int, Field(ge=1, le=8)] = 1
    recompute: bool = False

    @model_validator(mode="after")
    def _matching_on_half(self) -> TransformationConfig:
        if self.matching and not self.half:
            raise ValueError("the matching volume lies at half resolution; set matching: 0 or half: true")
        return self


class GeneratorConfig(Frozen):
    """G."""

    channels: Channels = (16, 32, 32)
    residual: bool = False
    norm: bool = False
    recompute: bool = False


class DiscriminatorConfig(Frozen):
    """D."""

    channels: Count = 16
    layers: Annotated[int, Field(ge=1, le=6)] = 3
    conditional: bool = False
    spectral: bool = True


class TransformationWeights(Frozen):
    """Of the losses of T; alpha and beta of the paper are `smooth` and `lg`.

    lcc: of the fixed and the synthesised image.  lg, gc, mi, direct_lcc: of the fixed and the warped image.  smooth: of
    the displacement in mm.  truth: mean square distance to a known warp, in voxels.  dice: 1 - overlap of labels.
    """

    lcc: Weight = 1.0
    lg: Weight = 1.0
    gc: Weight = 0.0
    mi: Weight = 0.0
    direct_lcc: Weight = 0.0
    smooth: Weight = 1.0
    folding: Weight = 0.0
    truth: Weight = 0.0
    dice: Weight = 0.0


class GeneratorWeights(Frozen):
    """Of the losses of G; mu and lambda of the paper are `lg` and `l1`."""

    adversarial: Weight = 0.1
    lg: Weight = 1.0
    l1: Weight = 1.0


class LossConfig(Frozen):
    """window, lcc_window: voxels along each side of LG (n of the paper) and of LCC."""

    adversarial: Adversarial = "least_squares"
    window: Window = 7
    lcc_window: Window = 7
    transformation: TransformationWeights = TransformationWeights()
    generator: GeneratorWeights = GeneratorWeights()

    @model_validator(mode="after")
    def _odd(self) -> LossConfig:
        for name in ("window", "lcc_window"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} must be odd, got {getattr(self, name)}")
        return self


class OptimiserConfig(Frozen):
    """Adam.  The rates fall linearly to zero over the last `decay` share of the steps."""

    transformation: Positive = 1e-3
    generator: Positive = 2e-4
    discriminator: Positive = 2e-4
    betas: tuple[Share, Share] = (0.9, 0.999)
    clip: Positive = 1.0
    decay: Share = 0.5


class TrainConfig(Frozen):
    """One experiment.  Paths are as seen from the configuration's folder; `out` from where the command runs.

    start: a model (the name of one that ships, a file or a run's folder) whose weights the networks begin with; they
    must be of the same sizes.
    """

    task: Literal["registration"] = "registration"
    name: Name
    out: Path | None = None
    start: str | None = None
    seed: Seed = 0
    data: DataConfig = DataConfig()
    generated: GeneratedConfig = GeneratedConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    transformation: TransformationConfig = TransformationConfig()
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _has_pairs(self) -> TrainConfig:
        real = self.data.manifest is not None or self.data.fixed_images
        if not real and self.generated.share < 1:
            raise ValueError("data names no pairs: give data.manifest or the lists of images, or generated.share: 1")
        return self

    @property
    def folder(self) -> Path:
        """Where the run is written."""
        return self.out or Path("runs") / self.name

    def seen_from(self, folder: Path) -> TrainConfig:
        """The same with the data's relative paths made absolute."""
        data, generated = self.data, self.generated
        changed = {
            "manifest": None if data.manifest is None else folder / data.manifest,
            "cache": folder / data.cache,
            "fixed_images": tuple(str(folder / p) for p in data.fixed_images),
            "moving_images": tuple(str(folder / p) for p in data.moving_images),
        }
        maps = {"label_maps": tuple(str(folder / p) for p in generated.label_maps)}
        return self.model_copy(
            update={"data": data.model_copy(update=changed), "generated": generated.model_copy(update=maps)}
        )
