"""What a configuration would train: pairs found, sizes of the networks, expected time and memory."""

from __future__ import annotations

import math

import torch

from deformgan.config import TrainConfig
from deformgan.cost import Plan, of_training
from deformgan.io.found import found_files
from deformgan.io.pairs import read_manifest
from deformgan.networks.size import size_of
from deformgan.training.players import build_networks
from deformgan.training.steps import asks_for_generator

BYTES = {"no": 4, "bf16": 2}  # of an activation
RECOMPUTED = 0.3  # share of the activations that are kept where the others are computed again
FORWARD, LEARN = 1, 3  # passes' worth of work: with its derivative a pass counts three times


def describe(config: TrainConfig) -> Plan:
    """Data, networks, steps; what they will take.  Raises InputError for data that are not there."""
    lines = [_pairs(config)]
    with torch.device("meta"):  # sizes alone: the configuration may be of more than any memory holds
        networks = build_networks(config)
        image = torch.empty(1, 1, *config.data.shape)
    t, g, d = (
        size_of(networks[role], *[image] * images)
        for role, images in (("transformation", 2), ("generator", 1), ("discriminator", 2))
    )
    lines += [
        f"{role}: {size.weights / 1e6:.2f} million weights" for role, size in zip(networks, (t, g, d), strict=True)
    ]
    shape, training = " x ".join(map(str, config.data.shape)), config.training
    lines.append(
        f"{training.steps} steps of {training.batch} pair(s) of {shape} voxels of {config.data.spacing_mm:g} mm"
    )
    # The step of T keeps what T and G computed; it is the dearest of the three.
    kept = t.numbers * (RECOMPUTED if config.transformation.recompute else 1)
    kept += g.numbers * (RECOMPUTED if config.generator.recompute else 1)
    matching = _matching_numbers(config)
    pair = BYTES[training.precision] * kept + 4 * matching
    real = 1 - config.generated.share if asks_for_generator(config.loss) else 0.0
    passes = {t: LEARN + real * FORWARD, g: real * (2 * LEARN + FORWARD), d: real * 3 * LEARN}
    work, numbers = (sum(n * getattr(size, what) for size, n in passes.items()) for what in ("work", "numbers"))
    numbers += passes[t] * matching
    at_once = max(1, training.batch // training.accumulate)
    weights = t.weights + g.weights + d.weights
    cost = of_training(training.steps, training.batch, work, numbers, at_once * pair, weights, pairs=True)
    return Plan(tuple(lines), cost)


def _matching_numbers(config: TrainConfig) -> int:
    """Of the matching volumes of a pair; each is held about three times over."""
    t = config.transformation
    cells = math.prod(-(-n // 2) for n in config.data.shape)
    return 3 * t.passes * cells * (2 * t.matching + 1) ** 3 if t.matching else 0


def _pairs(config: TrainConfig) -> str:
    data = config.data
    made = f"{100 * config.generated.share:.0f} % of the steps on generated pairs" if config.generated.share else ""
    if data.manifest is not None:
        pairs = read_manifest(data.manifest)
        text = f"{len(pairs)} pairs of {len({p.subject for p in pairs})} subjects"
    elif data.fixed_images:
        fixed, moving = found_files(data.fixed_images), found_files(data.moving_images)
        text = f"{len(fixed)} fixed and {len(moving)} moving images, any of which make a pair"
    else:
        text = "no real pairs"
    found_files(config.generated.label_maps)
    return "data: " + ", ".join(part for part in (text, made) if part)
