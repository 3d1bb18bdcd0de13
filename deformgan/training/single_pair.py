"""Deform-GAN on one pair alone, for users without a training set: T, G and D see nothing but the pair."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path

from deformgan.config import (
    AugmentationConfig,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    TrainConfig,
    TrainingConfig,
    TransformationConfig,
    TransformationWeights,
)
from deformgan.io.pairs import FILES, PairFiles
from deformgan.registration.models import load_model
from deformgan.registration.options import RegisterOptions
from deformgan.registration.pipeline import use_threads
from deformgan.registration.progress import Show, silent
from deformgan.training.loop import train
from deformgan.training.pictures import prepare_pairs

MOST_VOXELS = 120_000  # of the working grid, so that a CPU takes minutes
FINEST_MM = 2.0
NO_CHANGE = AugmentationConfig(
    motion_mm=0, rotation=0, shift_mm=0, scale=0, flip=False, gamma=0, bias=0, noise=0, crop=0
)


def train_on_pair(
    files: PairFiles,
    folder: Path,
    *,
    start: str | None = None,
    steps: int = 400,
    options: RegisterOptions | None = None,
    show: Show = silent,
) -> Path:
    """Train on the pair as it is, with the paper's losses, in `folder`; the run's folder, for RegisterOptions.model.

    start: a model to begin with, whose sizes and voxels are then used.  Raises InputError as `train` does.
    """
    options = options or RegisterOptions()
    use_threads(options.threads)
    model = None if start is None else load_model(start).config
    data = _data(files, folder, None if model is None else model.data.spacing_mm)
    config = TrainConfig(
        name="pair",
        out=folder / "run",
        start=start,
        seed=options.seed,
        data=data,
        augmentation=NO_CHANGE,
        transformation=TransformationConfig() if model is None else model.transformation,
        generator=GeneratorConfig(channels=(8, 16, 16)) if model is None else model.generator,
        discriminator=DiscriminatorConfig() if model is None else model.discriminator,
        loss=LossConfig(transformation=TransformationWeights(smooth=0.3)),
        training=TrainingConfig(
            steps=steps, validate_every=max(1, steps // 4), save_every=steps, keep=1, pictures=False
        ),
    )
    train(config, show=show)
    return config.folder


def _data(files: PairFiles, folder: Path, spacing_mm: float | None) -> DataConfig:
    """The pair as training and as validation data, on the finest grid of MOST_VOXELS at most."""
    manifest = folder / "pair.csv"
    given = asdict(files)
    absolute = {name: str(Path(given[name]).resolve()) if given[name] else "" for name in FILES}
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.DictWriter(stream, [*FILES, "subject", "split"])
        rows.writeheader()
        rows.writerows({**absolute, "subject": "pair", "split": split} for split in ("train", "validation"))
    spacing = spacing_mm or FINEST_MM
    while True:
        data = DataConfig(manifest=manifest, cache=folder / "cache", spacing_mm=spacing, same_subject=False)
        image = prepare_pairs(data, 0)[0].load()[0].image
        if spacing_mm is not None or image.numel() <= MOST_VOXELS:
            return data.model_copy(update={"shape": tuple(image.shape[2:])})
        spacing *= max(1.05, (image.numel() / MOST_VOXELS) ** (1 / 3))
