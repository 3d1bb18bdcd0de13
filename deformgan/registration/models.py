"""Trained T networks: the ones that ship, those of a run, and what they predict for a pair."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deformgan.errors import InputError
from deformgan.io.tensor_files import ENDING, read_tensors, under, write_tensors
from deformgan.networks.transformation import TransformationNetwork
from deformgan.registration.appearance import Appearance
from deformgan.registration.deformable import Field, carry
from deformgan.registration.working_grid import on_grid, working_grid

if TYPE_CHECKING:
    from deformgan.config import TrainConfig, TransformationConfig

FORMAT = "deformgan-model-1"
FILE = f"model{ENDING}"  # of a training run
SHIPPED = Path(__file__).resolve().parent.parent / "weights"
AUTO = "auto"  # in place of a name: whichever of those that ship serves the pair best, if any
CARD = ".md"  # beside the weights
Network = TypeVar("Network", bound=torch.nn.Module)


@dataclass(frozen=True)
class Model:
    """A trained T and what it needs to know of its training.

    tensors: of T, and of G and D where the file has them, by "transformation.", "generator." and "discriminator.".
    """

    name: str
    config: TrainConfig
    tensors: Mapping[str, Tensor]
    figures: Mapping[str, float]

    @property
    def summary(self) -> str:
        """One line: working spacing, and the distance to the truth on pairs that training did not see."""
        text = f"{self.config.data.spacing_mm:g} mm"
        if "tre_mm" in self.figures:
            text += f", {self.figures['tre_mm_before']:.1f} -> {self.figures['tre_mm']:.1f} mm on held-out pairs"
        return text

    def network(self) -> TransformationNetwork:
        """T, ready to predict.  Raises InputError where weights and configuration do not fit."""
        weights = under(self.tensors, "transformation.")
        return with_weights(lambda: build_transformation(self.config.transformation), weights, self.name).eval()


def build_transformation(config: TransformationConfig) -> TransformationNetwork:
    """A new T as configured."""
    return TransformationNetwork(
        config.channels,
        output=config.output,
        half=config.half,
        matching=config.matching,
        passes=config.passes,
        recompute=config.recompute,
    )


def with_weights(build: Callable[[], Network], weights: Mapping[str, Tensor], name: str) -> Network:
    """A network with these weights; built where they fit, so that a lying configuration of `name` claims no memory."""
    check_weights(build, weights, name)
    network = build()
    network.load_state_dict({key: w.float() for key, w in weights.items()})
    return network


def check_weights(build: Callable[[], torch.nn.Module], weights: Mapping[str, Tensor], name: str) -> None:
    """Raise InputError where the weights are not those of the network, or not finite; `name`: of their file."""
    with torch.device("meta"):
        wanted = {key: w.shape for key, w in build().state_dict().items()}
    if wanted != {key: w.shape for key, w in weights.items()}:
        raise InputError(f"{name}: its weights do not fit the configuration that it names; is it of another network?")
    if not all(bool(torch.isfinite(w).all()) for w in weights.values()):
        raise InputError(f"{name}: has weights that are not finite; its training failed, take another checkpoint")


def figures_of_model(text: str, name: str) -> dict[str, float]:
    """The figures, JSON, that a model file carries.  Raises InputError."""
    try:
        return {str(key): float(value) for key, value in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{name}: its figures cannot be read; the file is not whole") from error


def save_model(path: Path, tensors: Mapping[str, Tensor], config: TrainConfig, figures: Mapping[str, float]) -> None:
    """Write a model file; see Model."""
    metadata = {"format": FORMAT, "config": config.model_dump_json(), "figures": json.dumps(dict(figures))}
    write_tensors(path, tensors, metadata)


def load_model(name: str) -> Model:
    """The model NAME that ships, a file, or a training run's folder.  Raises InputError."""
    from deformgan.config import TrainConfig, config_of_model  # brings pydantic, which most registrations do without

    place = _place(name)
    tensors, metadata = read_tensors(place)
    if metadata.get("format") != FORMAT:
        raise InputError(f"{place}: not a deformgan model ({metadata.get('format', 'no format is named')})")
    config = config_of_model(metadata.get("config", ""), str(place))
    if not isinstance(config, TrainConfig):
        raise InputError(f"{place}: it names a configuration of synthesis; the file is not whole")
    figures = figures_of_model(metadata.get("figures", ""), str(place))
    check_weights(lambda: build_transformation(config.transformation), under(tensors, "transformation."), str(place))
    return Model(place.stem if place.name != FILE else place.parent.name, config, tensors, figures)


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.stem for p in SHIPPED.glob(f"*{ENDING}"))


def models_named(name: str | None) -> list[str]:
    """The models that a user's word stands for: none, one, or with "auto" all that ship."""
    return [] if name is None else shipped_models() if name == AUTO else [name]


def card(name: str) -> str:
    """The model card, Markdown, of a model that ships.  Raises InputError."""
    place = _place(name)
    if place.parent != SHIPPED:
        raise InputError(f"{name}: only models that ship have a card; they are {', '.join(shipped_models()) or 'none'}")
    return place.with_suffix(CARD).read_text(encoding="utf-8")


def _place(name: str) -> Path:
    if name in shipped_models():
        return SHIPPED / f"{name}{ENDING}"
    path = Path(name)
    if path.is_dir():
        if (path / FILE).exists():
            return path / FILE
        raise InputError(f"{path}: no {FILE} in this folder; has the run been validated yet?")
    if path.exists():
        return path
    near = difflib.get_close_matches(name, shipped_models(), 1)
    hint = f"did you mean {near[0]}?" if near else f"those that ship: {', '.join(shipped_models()) or 'none'}"
    raise InputError(f"model {name!r}: no such model, file or run; {hint}")


@torch.no_grad()
def predict(model: Model, fixed: Appearance, moving: Appearance, matrix: NDArray[np.float64]) -> Field:
    """T's displacement, fixed -> affinely aligned moving; matrix: 4x4, LPS mm.

    T looks at what both images show; the field covers all of the fixed image, and goes on as at the border.
    """
    grid = working_grid(fixed.geometry, moving.geometry, matrix, model.config.data.spacing_mm)
    pair: list[Any] = [on_grid(fixed, grid)[0], on_grid(moving, grid, matrix)[0]]
    network = model.network().to(fixed.image.device)
    found = Field(network(*pair), grid)
    whole = working_grid(fixed.geometry, fixed.geometry, np.eye(4), model.config.data.spacing_mm)
    return Field(carry(found, whole), whole)


def left_to_refine(levels: Sequence[tuple[float, int]], model: Model) -> tuple[tuple[float, int], ...]:
    """The levels (voxel in mm, iterations) that a prediction has not done yet: those not far coarser than its grid."""
    coarsest = 2 * model.config.data.spacing_mm
    return tuple(level for level in levels if level[0] <= coarsest) or tuple(levels[-1:])
