"""train(): store the volumes, then every step of CycleGAN or of the conditional GAN; the rest as for registration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from deformgan.config import CycleganConfig
from deformgan.registration.progress import Show, silent
from deformgan.synthesis import conditional, cyclegan
from deformgan.synthesis.batches import POOL_CT, POOL_MR, Source
from deformgan.synthesis.models import Config, build_networks, save_model
from deformgan.synthesis.pool import ImagePool
from deformgan.synthesis.validation import validate
from deformgan.synthesis.volumes import store_subjects
from deformgan.training.players import Players, Rates
from deformgan.training.run import Losses, Run, accelerator_for, begun, play, run_folder


def train(config: Config, *, resume: bool = False, overwrite: bool = False, show: Show = silent) -> Run:
    """Train as configured; the newest generators lie in FOLDER/model.safetensors afterwards.

    All else is as for registration: see `deformgan.training.loop.train`.
    """
    accelerator = accelerator_for(config)
    with run_folder(config, accelerator, resume=resume, overwrite=overwrite):
        subjects = begun(config, accelerator, lambda tell: store_subjects(config.data, config.seed, tell), show)
        networks, chosen = build_networks(config), config.optimiser
        by_role = {role: chosen.generator if "generator" in role else chosen.discriminator for role in networks}
        players = Players.with_rates(networks, Rates(by_role, chosen.betas, chosen.decay, chosen.clip), accelerator)
        return play(config, Synthesis(config, Source(config, subjects), players), resume=resume, show=show)


class Synthesis:
    """The task.  Beside the networks it remembers the pools of past fakes; the newest model is the one that is kept."""

    def __init__(self, config: Config, source: Source, players: Players) -> None:
        self.players = players
        self.turns = "G D" if isinstance(config, CycleganConfig) else "D G"
        self._config, self._source = config, source
        self._held_out = source.validation() if players.accelerator.is_main_process else []
        size = config.pool if isinstance(config, CycleganConfig) else 0
        self._pools: dict[cyclegan.Kind, ImagePool] = {
            "ct": ImagePool(size, config.seed, POOL_CT),
            "mr": ImagePool(size, config.seed, POOL_MR),
        }

    def learn(self, step: int) -> Losses:
        """One step on this process' share of the batch."""
        accelerator, config = self.players.accelerator, self._config
        drawn = self._source.batches(step, accelerator.process_index, accelerator.num_processes)
        batches = [b.to(accelerator.device) for b in drawn]
        if isinstance(config, CycleganConfig):
            return cyclegan.train_step(self.players, batches, config.loss, self._pools, step)
        return conditional.train_step(self.players, batches, config.loss)

    def measure(self) -> dict[str, float]:
        """On what is held out; nothing where nothing is."""
        return validate(self.players, self._held_out, self._config.data)

    def score(self, figures: dict[str, float]) -> None:
        """No figure tells a good fake: as in the paper, the last is kept."""

    def keep(self, place: Path, figures: dict[str, float]) -> None:
        """Write the generators."""
        save_model(place, self.players.weights(), self._config, figures)

    def memory(self) -> dict[str, Tensor]:
        """The pools."""
        return {f"pool_{kind}": pool.images for kind, pool in self._pools.items() if pool.size}

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """The pools."""
        for kind, pool in self._pools.items():
            pool.images = memory.get(f"pool_{kind}", pool.images)

    @torch.no_grad()
    def picture(self) -> tuple[str, Tensor] | None:
        """MR, CT and the CT made of the MR, side by side; the middle slice of patches."""
        if not self._held_out:
            return None
        batch = self._held_out[len(self._held_out) // 2].to(self.players.accelerator.device)
        self.players.network("generator_ct").eval()
        images = [batch.mr, batch.ct, self.players.play("generator_ct", batch.mr)]
        flat = [x[0] if x.ndim == 4 else x[0, :, x.shape[2] // 2] for x in images]
        return "mr_ct_synthesised", (torch.cat(flat, -1).cpu() + 1) / 2
