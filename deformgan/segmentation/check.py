"""What a configuration of segmentation would train: people found, channels, the network, time and memory."""

from __future__ import annotations

from collections import Counter

import torch

from deformgan.config import SegmentationConfig
from deformgan.cost import Plan, of_training
from deformgan.errors import InputError
from deformgan.networks.size import size_of
from deformgan.segmentation.channels import view_of
from deformgan.segmentation.models import build_network
from deformgan.segmentation.people import listed, usable
from deformgan.synthesis.models import load_model
from deformgan.training.check import BYTES, LEARN, RECOMPUTED


def describe(config: SegmentationConfig) -> Plan:
    """Data, channels, structures, network, steps; what they will take.

    Raises InputError for data that are not there.
    """
    data = config.data
    people = listed(data, config.seed)
    splits = Counter(p.split or "train" for p in people if usable(p, data.trained_on))
    if not splits["train"]:
        raise InputError(f"{data.manifest}: nobody of split train has {data.trained_on} and labels")
    shared = ", ".join(f"{count} {split}" for split, count in sorted(splits.items()))
    view = view_of(config, None if data.synthesis is None else load_model(str(data.synthesis)))
    pixels = f"{view.spacing_mm:g} mm" if view.spacing_mm else "as in the files"
    made = f", the other made by {data.synthesis}" if data.synthesis else ""
    size = size_of(build_network(config), torch.empty(1, len(data.channels), *data.shape))
    training = config.training
    lines = (
        f"data: {sum(splits.values())} people with {data.trained_on.upper()} and labels ({shared})",
        f"channels: {', '.join(data.channels)}; real: {data.trained_on}{made}",
        f"{view.plane} slices: {data.shape[0]} x {data.shape[1]}, pixels {pixels}",
        f"structures: {', '.join(config.structures)}",
        f"network: {size.weights / 1e6:.2f} million weights",
        f"{training.steps} steps of {training.batch} slices",
    )
    at_once = max(1, training.batch // training.accumulate)
    kept = BYTES[training.precision] * size.numbers * (RECOMPUTED if config.network.recompute else 1)
    work, numbers = LEARN * size.work, LEARN * size.numbers
    return Plan(lines, of_training(training.steps, training.batch, work, numbers, at_once * kept, size.weights))
