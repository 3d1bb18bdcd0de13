"""The segmentation network and its model files, which hold the generators that make the other channel too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deformgan.config import ConditionalConfig, CycleganConfig, SegmentationConfig, config_of_model
from deformgan.errors import InputError
from deformgan.io.tensor_files import under, write_tensors
from deformgan.networks.segmentation import SegmentationNetwork
from deformgan.registration.models import check_weights, figures_of_model, with_weights
from deformgan.synthesis.models import SynthesisModel, build_generator, read_model

FORMAT = "deformgan-segmentation-1"
NETWORK, SYNTHESIS = "segmenter", "synthesis."  # before the names of tensors


@dataclass(frozen=True)
class SegmentationModel:
    """A trained network, what it needs to know of its training, and what makes its other channel, if there are two.

    tensors: of the network.
    """

    name: str
    config: SegmentationConfig
    tensors: Mapping[str, Tensor]
    figures: Mapping[str, float]
    synthesis: SynthesisModel | None = None

    def network(self) -> SegmentationNetwork:
        """Ready to segment.  Raises InputError where weights and configuration do not fit."""
        return with_weights(lambda: build_network(self.config), self.tensors, self.name).eval()


def build_network(config: SegmentationConfig) -> SegmentationNetwork:
    """On the CPU, with weights that follow from the seed."""
    n = config.network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return SegmentationNetwork(
            len(config.data.channels), 1 + len(config.structures), n.channels, recompute=n.recompute
        )


def save_model(
    path: Path,
    weights: Mapping[str, Tensor],
    config: SegmentationConfig,
    figures: Mapping[str, float],
    synthesis: SynthesisModel | None,
) -> None:
    """Write network, generators, configurations and figures; weights: named "segmenter.NAME"."""
    made = {} if synthesis is None else {f"{SYNTHESIS}{name}": t for name, t in synthesis.tensors.items()}
    metadata = {
        "format": FORMAT,
        "config": config.model_dump_json(),
        "figures": json.dumps(dict(figures)),
        "synthesis": "" if synthesis is None else synthesis.config.model_dump_json(),
    }
    write_tensors(path, {**weights, **made}, metadata)


def load_model(name: str) -> SegmentationModel:
    """A file, or a training run's folder.  Raises InputError."""
    place, tensors, metadata = read_model(name, FORMAT, "segmentation", "deformgan train makes one, task segmentation")
    config = config_of_model(metadata.get("config", ""), str(place))
    if not isinstance(config, SegmentationConfig):
        raise InputError(f"{place}: it names a configuration of {config.task}; the file is not whole")
    weights, figures = under(tensors, f"{NETWORK}."), figures_of_model(metadata.get("figures", ""), str(place))
    check_weights(lambda: build_network(config), weights, str(place))
    return SegmentationModel(str(place), config, weights, figures, _synthesis_in(config, tensors, metadata, str(place)))


def _synthesis_in(
    config: SegmentationConfig, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], name: str
) -> SynthesisModel | None:
    """What makes the second channel, None where there is one channel only."""
    if len(config.data.channels) == 1:
        return None
    theirs = config_of_model(metadata.get("synthesis", ""), name)
    if not isinstance(theirs, CycleganConfig | ConditionalConfig):
        raise InputError(f"{name}: its other channel would be made by a model of {theirs.task}; the file is not whole")
    weights = under(tensors, SYNTHESIS)
    for kind in {"ct", "mr"} if isinstance(theirs, CycleganConfig) else {"ct"}:
        check_weights(lambda: build_generator(theirs), under(weights, f"generator_{kind}."), name)
    return SynthesisModel(name, theirs, weights, {})
