"""Networks by role, their optimisers, and whose turn it is; T, G and D of Deform-GAN among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from deformgan.config import TrainConfig
from deformgan.errors import DeformganError, InputError
from deformgan.io.tensor_files import under
from deformgan.networks.discriminator import Discriminator
from deformgan.networks.generator import Generator
from deformgan.networks.transformation import TransformationNetwork
from deformgan.registration.models import build_transformation, load_model

Role = str
ROLES: tuple[Role, ...] = ("transformation", "generator", "discriminator")  # of Deform-GAN
Terms = Mapping[str, Tensor]
Seen = TypeVar("Seen")  # what a step looks at


class TrainingError(DeformganError):
    """Training cannot go on: a loss is not finite."""


@dataclass(frozen=True)
class Rates:
    """Of Adam: the learning rate of each role, constant, then falling linearly to zero over the last `decay` share.

    clip: the gradient's largest norm, None = any.
    """

    by_role: Mapping[Role, float]
    betas: tuple[float, float]
    decay: float
    clip: float | None = None


@dataclass(frozen=True)
class Players:
    """The networks of a game on one device, each with its Adam.

    They are not wrapped for several processes: gradients are averaged by `learn` itself, since in a GAN each step
    leaves some of the networks out, and a wrapper would wait for their gradients.
    """

    networks: Mapping[Role, nn.Module]
    optimisers: Mapping[Role, torch.optim.Adam]
    rates: Rates
    accelerator: Accelerator

    @classmethod
    def of(cls, config: TrainConfig, accelerator: Accelerator) -> Players:
        """T, G and D, new or those of a model; the same seed makes the same weights."""
        networks = build_networks(config)
        if config.start is not None:
            start_with(networks, config.start)
        chosen = config.optimiser
        by_role = {role: getattr(chosen, role) for role in ROLES}
        return cls.with_rates(networks, Rates(by_role, chosen.betas, chosen.decay, chosen.clip), accelerator)

    @classmethod
    def with_rates(cls, networks: Mapping[Role, nn.Module], rates: Rates, accelerator: Accelerator) -> Players:
        """Any networks, moved to the device, each with an Adam."""
        for network in networks.values():
            network.to(accelerator.device)
        optimisers = {role: torch.optim.Adam(n.parameters(), betas=rates.betas) for role, n in networks.items()}
        return cls(networks, optimisers, rates, accelerator)

    @property
    def transformation(self) -> TransformationNetwork:
        """T."""
        return cast(TransformationNetwork, self.networks["transformation"])

    @property
    def generator(self) -> Generator:
        """G."""
        return cast(Generator, self.networks["generator"])

    def network(self, role: Role) -> nn.Module:
        """The one of that role."""
        return self.networks[role]

    def play(self, role: Role, *images: Tensor) -> Tensor:
        """What a network makes of the images, float32; its convolutions run in the configured precision."""
        with self.accelerator.autocast():
            out: Tensor = self.networks[role](*images)
        return out.float()

    def weights(self) -> dict[str, Tensor]:
        """Of all networks, by role and name."""
        return {f"{role}.{name}": t for role, n in self.networks.items() for name, t in n.state_dict().items()}

    def set_rates(self, step: int, steps: int) -> None:
        """Learning rates of a step: constant, then falling linearly to zero."""
        left = (steps - step) / max(1.0, self.rates.decay * steps)
        for role, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = self.rates.by_role[role] * min(1.0, left)

    @contextmanager
    def turn(self, *roles: Role) -> Iterator[None]:
        """Only these learn; the others stand still, the statistics of their norms included."""
        for role, network in self.networks.items():
            network.requires_grad_(role in roles).train(role in roles)
        yield

    def learn(
        self,
        who: Role | tuple[Role, ...],
        terms_of: Callable[[Seen], Terms],
        batches: Sequence[Seen],
        weights: Mapping[str, float],
    ) -> dict[str, float]:
        """One optimiser step of one network, or of several together, on the weighted sum of the terms.

        The terms' means over all processes.  Raises TrainingError naming a term that is not finite.
        """
        roles = (who,) if isinstance(who, str) else who
        means: dict[str, Tensor] = {}
        with self.turn(*roles):
            for role in roles:
                self.optimisers[role].zero_grad(set_to_none=True)
            for batch in batches:
                terms = terms_of(batch)
                total = sum_of(terms, weights) / len(batches)
                total.backward()
                for name, value in terms.items():
                    means[name] = means.get(name, 0) + value.detach() / len(batches)
            found = self._everywhere(means)
            _check_finite(found, roles)
            for role in roles:
                self._step(role)
        return found

    def _step(self, role: Role) -> None:
        parameters = [p for p in self.networks[role].parameters() if p.grad is not None]
        for p in parameters:
            p.grad = self.accelerator.reduce(p.grad, "mean")
        if self.rates.clip is not None:
            nn.utils.clip_grad_norm_(parameters, self.rates.clip)
        self.optimisers[role].step()

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


def _check_finite(means: Mapping[str, float], roles: Sequence[Role]) -> None:
    for name, value in means.items():
        if not abs(value) < float("inf"):
            raise TrainingError(
                f"the loss term {name!r} of the {' and '.join(roles)} network became {value}; lower its rate in "
                f"`optimiser` or the term's weight, and go on from the last checkpoint with --resume"
            )
