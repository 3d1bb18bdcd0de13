"""The networks of synthesis, and their model files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from deformgan.config import ConditionalConfig, CycleganConfig, config_of_model
from deformgan.errors import InputError
from deformgan.io.tensor_files import read_tensors, under, write_tensors
from deformgan.networks.discriminator import Discriminator
from deformgan.networks.residual import ResidualGenerator
from deformgan.registration.models import FILE, check_weights, figures_of_model, with_weights
from deformgan.synthesis.intensity import Kind

FORMAT = "deformgan-synthesis-1"
Config = CycleganConfig | ConditionalConfig
GENERATORS = ("generator_ct.", "generator_mr.")


@dataclass(frozen=True)
class SynthesisModel:
    """A trained generator and what it needs to know of its training.

    tensors: of G_CT, and of G_MR where there is one, by "generator_ct." and "generator_mr.".
    """

    name: str
    config: Config
    tensors: Mapping[str, Tensor]
    figures: Mapping[str, float]

    def network(self, to: Kind = "ct") -> ResidualGenerator:
        """G_CT or G_MR, ready to translate.  Raises InputError where the model has none, or its weights do not fit."""
        weights = under(self.tensors, f"generator_{to}.")
        if not weights:
            raise InputError(
                f"{self.name}: it makes no {to.upper()}; train a model of task cyclegan, which goes both ways"
            )
        return with_weights(lambda: build_generator(self.config), weights, self.name).eval()


def build_networks(config: Config) -> dict[str, nn.Module]:
    """By role, on the CPU, with weights that follow from the seed; the paired form has no G_MR and D_MR."""
    kinds = ("ct", "mr") if config.task == "cyclegan" else ("ct",)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        generators = {f"generator_{kind}": build_generator(config) for kind in kinds}
        return {**generators, **{f"discriminator_{kind}": _discriminator(config) for kind in kinds}}


def build_generator(config: Config) -> ResidualGenerator:
    """A new G as configured."""
    g = config.generator
    dimension = len(config.data.shape)
    return ResidualGenerator(g.channels, g.blocks, dimension=dimension, norm=g.norm, recompute=g.recompute)


def _discriminator(config: Config) -> Discriminator:
    d = config.discriminator
    return Discriminator(
        d.channels,
        d.layers,
        dimension=len(config.data.shape),
        conditional=config.task == "conditional",
        spectral=False,
        wide=True,
        norm=True,
    )


def save_model(path: Path, weights: Mapping[str, Tensor], config: Config, figures: Mapping[str, float]) -> None:
    """Write the generators, the configuration and the figures; see SynthesisModel."""
    tensors = {name: t for name, t in weights.items() if name.startswith(GENERATORS)}
    metadata = {"format": FORMAT, "config": config.model_dump_json(), "figures": json.dumps(dict(figures))}
    write_tensors(path, tensors, metadata)


def load_model(name: str) -> SynthesisModel:
    """A file, or a training run's folder.  Raises InputError."""
    place, tensors, metadata = read_model(name, FORMAT, "MR -> CT synthesis", "deformgan train makes one")
    config = config_of_model(metadata.get("config", ""), str(place))
    if not isinstance(config, Config):
        raise InputError(f"{place}: it names a configuration of {config.task}; the file is not whole")
    figures = figures_of_model(metadata.get("figures", ""), str(place))
    check_weights(lambda: build_generator(config), under(tensors, GENERATORS[0]), str(place))
    return SynthesisModel(str(place), config, tensors, figures)


def read_model(name: str, form: str, what: str, maker: str) -> tuple[Path, Mapping[str, Tensor], Mapping[str, str]]:
    """(file, tensors, metadata) of a model file or a run's folder, of the format `form`.

    what, maker: of what it should be a model, and how one is made, for the message.  Raises InputError.
    """
    place = Path(name) / FILE if Path(name).is_dir() else Path(name)
    if not place.exists():
        raise InputError(f"{place}: no such model; give a model file, or the folder of a run that has been validated")
    tensors, metadata = read_tensors(place)
    if metadata.get("format") != form:
        found = metadata.get("format", "no format is named")
        raise InputError(f"{place}: not a model of {what} ({found}); {maker}")
    return place, tensors, metadata
