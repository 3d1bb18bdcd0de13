"""T, G and D, their optimisers, and whose turn it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from deformgan.config import OptimiserConfig, TrainConfig
from deformgan.errors import DeformganError, InputError
from deformgan.io.tensor_files import under
from deformgan.networks.discriminator import Discriminator
from deformgan.networks.generator import Generator
from deformgan.networks.transformation import TransformationNetwork
from deformgan.registration.models import build_transformation, load_model

Role = Literal["transformation", "generator", "discriminator"]
ROLES: tuple[Role, ...] = ("transformation", "generator", "discriminator")
Terms = Mapping[str, Tensor]
Seen = TypeVar("Seen")  # what a step looks at


class TrainingError(DeformganError):
    """Training cannot go on: a loss is not finite."""


@dataclass(frozen=True)
class Players:
    """The three networks of Deform-GAN on one device, each with its Adam.

    The networks are not wrapped for several processes: gradients are averaged by `learn` itself, since in a GAN each
    step leaves two of the three networks out, and a wrapper would wait for their gradients.
    """

    transformation: TransformationNetwork
    generator: Generator
    discriminator: Discriminator
    optimisers: Mapping[Role, torch.optim.Adam]
    rates: OptimiserConfig
    accelerator: Accelerator

    @classmethod
    def of(cls, config: TrainConfig, accelerator: Accelerator) -> Players:
        """New networks; the same seed makes the same weights."""
        networks = build_networks(config)
        if config.start is not None:
            start_with(networks, config.start)
        for network in networks.values():
            network.to(accelerator.device)
        rates = config.optimiser
        optimisers = {role: torch.optim.Adam(networks[role].parameters(), betas=rates.betas) for role in ROLES}
        return cls(**networks, optimisers=optimisers, rates=rates, accelerator=accelerator)  # type: ignore[arg-type]

    def network(self, role: Role) -> nn.Module:
        """T, G or D."""
        found: nn.Module = getattr(self, role)
        return found

    def play(self, role: Role, *images: Tensor) -> Tensor:
        """What a network makes of the images, float32; its convolutions run in the configured precision."""
        with self.accelerator.autocast():
            out: Tensor = self.network(role)(*images)
        return out.float()

    def weights(self) -> dict[str, Tensor]:
        """Of all three, by role and name."""
        return {f"{role}.{name}": t for role in ROLES for name, t in self.network(role).state_dict().items()}

    def set_rates(self, step: int, steps: int) -> None:
        """Learning rates of a step: constant, then falling linearly to zero."""
        left = (steps - step) / max(1.0, self.rates.decay * steps)
        for role, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = getattr(self.rates, role) * min(1.0, left)

    @contextmanager
    def turn(self, role: Role) -> Iterator[None]:
        """Only one network learns; the others stand still, the statistics of their norms included."""
        for other in ROLES:
            self.network(other).requires_grad_(other == role).train(other == role)
        yield

    def learn(
        self,
        role: Role,
        terms_of: Callable[[Seen], Terms],
        batches: Sequence[Seen],
        weights: Mapping[str, float],
    ) -> dict[str, float]:
        """One optimiser step of one network on the weighted sum of the terms; their means over all processes.

        Raises TrainingError naming a term that is not finite.
        """
        means: dict[str, Tensor] = {}
        with self.turn(role):
            self.optimisers[role].zero_grad(set_to_none=True)
            for batch in batches:
                terms = terms_of(batch)
                total = sum_of(terms, weights) / len(batches)
                total.backward()
                for name, value in terms.items():
                    means[name] = means.get(name, 0) + value.detach() / len(batches)
            found = self._everywhere(means)
            _check_finite(found, role)
            parameters = [p for p in self.network(role).parameters() if p.grad is not None]
            for p in parameters:
                p.grad = self.accelerator.reduce(p.grad, "mean")
            nn.utils.clip_grad_norm_(parameters, self.rates.clip)
            self.optimisers[role].step()
        return found

    def _everywhere(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        together = self.accelerator.reduce(torch.stack([m.float() for m in means.values()]), "mean")
        return dict(zip(means, together.tolist(), strict=True))


def build_networks(config: TrainConfig) -> dict[Role, nn.Module]:
    """T, G and D as configured, on the CPU, with weights that follow from the seed."""
    t, g, d = config.transformation, config.generator, config.discriminator
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return {
            "transformation": build_transformation(t),
            "generator": Generator(g.channels, residual=g.residual, norm=g.norm, recompute=g.recompute),
            "discriminator": Discriminator(d.channels, d.layers, conditional=d.conditional, spectral=d.spectral),
        }


def start_with(networks: Mapping[Role, nn.Module], name: str) -> None:
    """Load a model's weights; a network that it lacks stays as it is.  Raises InputError where sizes differ."""
    tensors = load_model(name).tensors
    for role, network in networks.items():
        own = under(tensors, f"{role}.")
        if not own:
            continue
        try:
            network.load_state_dict(own)
        except RuntimeError as error:
            raise InputError(f"start: {name}: its {role} network is not of the configured size") from error


def sum_of(terms: Terms, weights: Mapping[str, float]) -> Tensor:
    """The weighted sum."""
    return torch.stack([weights[name] * value.float() for name, value in terms.items()]).sum()


def _check_finite(means: Mapping[str, float], role: Role) -> None:
    for name, value in means.items():
        if not abs(value) < float("inf"):
            raise TrainingError(
                f"the loss term {name!r} of the {role} network became {value}; lower optimiser.{role} "
                f"or the term's weight, and go on from the last checkpoint with --resume"
            )
