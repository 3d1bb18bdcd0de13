"""What a configuration of synthesis would train: people found, sizes of the networks, expected time and memory."""

from __future__ import annotations

from collections import Counter

import torch

from deformgan.cost import Plan, of_training
from deformgan.networks.size import Size, size_of
from deformgan.synthesis.models import Config, build_networks
from deformgan.synthesis.volumes import listed
from deformgan.training.check import BYTES, LEARN, RECOMPUTED


def describe(config: Config) -> Plan:
    """Data, networks, steps; what they will take.  Raises InputError for data that are not there."""
    subjects = listed(config.data, config.seed)
    splits = ", ".join(f"{count} {split}" for split, count in sorted(Counter(s.split for s in subjects).items()))
    pairs = sum(bool(s.mr and s.ct) for s in subjects)
    mr, ct = (sum(bool(getattr(s, kind)) for s in subjects) for kind in ("mr", "ct"))
    shape = " x ".join(map(str, config.data.shape))
    kind = f"{config.data.plane} slices" if len(config.data.shape) == 2 else "patches"
    lines = [f"data: {mr} MR, {ct} CT, {pairs} of them pairs ({splits})", f"{kind}: {shape} voxels"]
    generators: list[Size] = []
    discriminators: list[Size] = []
    patch = torch.empty(1, 1, *config.data.shape, device="meta")
    for role, network in build_networks(config).items():
        generator = role.startswith("generator")
        size = size_of(network, *[patch] * (1 if generator else 2))
        (generators if generator else discriminators).append(size)
        lines.append(f"{role}: {size.weights / 1e6:.2f} million weights")
    training, unpaired = config.training, config.task == "cyclegan"
    lines.append(f"{training.steps} steps of {training.batch}")
    made = 2 if unpaired else 1  # passes of a generator in its step: there, and back again
    passes = [*((g, made * LEARN) for g in generators), *((d, 3 * LEARN) for d in discriminators)]
    work, numbers = (sum(n * getattr(size, what) for size, n in passes) for what in ("work", "numbers"))
    kept = made * sum(g.numbers * (RECOMPUTED if config.generator.recompute else 1) for g in generators)
    kept += sum(d.numbers for d in discriminators)
    at_once = max(1, training.batch // training.accumulate)
    weights = sum(size.weights for size, _ in passes)
    pair = BYTES[training.precision] * kept
    return Plan(tuple(lines), of_training(training.steps, training.batch, work, numbers, at_once * pair, weights))
