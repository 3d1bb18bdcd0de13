"""What a configuration would train: sizes of the networks, expected memory, pairs found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deformgan.config import TrainConfig
from deformgan.io.found import found_files
from deformgan.io.pairs import read_manifest
from deformgan.training.players import build_networks

BYTES = {"no": 4, "bf16": 2}  # of an activation
RECOMPUTED = 0.3  # share of the activations that are kept where the others are computed again
STATES = 4  # arrays of a weight's size: itself, its gradient, Adam's two moments


def describe(config: TrainConfig) -> list[str]:
    """One line each: data, networks, memory.  Raises InputError for data that are not there."""
    lines = [_pairs(config)]
    with torch.device("meta"):  # sizes alone: the configuration may be of more than any memory holds
        weights, networks = 0, build_networks(config)
    for role, network in networks.items():
        count = sum(p.numel() for p in network.parameters())
        weights += count
        lines.append(f"{role}: {count / 1e6:.2f} million weights")
    image = torch.empty(1, 1, *config.data.shape, device="meta")
    t, g = config.transformation, config.generator
    # The step of T keeps what T and G computed; it is the dearest of the three.
    kept = _activations(networks["transformation"], (image, image)) * (RECOMPUTED if t.recompute else 1)
    kept += _activations(networks["generator"], (image,)) * (RECOMPUTED if g.recompute else 1)
    share = max(1, config.training.batch // config.training.accumulate)
    total = share * (BYTES[config.training.precision] * kept + 4 * _matching_numbers(config)) + 4 * STATES * weights
    shape = " x ".join(map(str, config.data.shape))
    lines.append(
        f"memory: about {total / 2**30:.2f} GiB for {share} pair(s) at once of {shape} voxels of "
        f"{config.data.spacing_mm:g} mm, beside torch itself"
    )
    return lines


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


def _activations(network: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Numbers that the convolutions and rectifiers of one pass produce."""
    total = 0
    network.to("meta")

    def count(module: nn.Module, args: object, out: Tensor) -> None:
        nonlocal total
        total += 2 * out.numel()  # the convolution's result and the rectifier's

    handles = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    network(*inputs)
    for handle in handles:
        handle.remove()
    return total
