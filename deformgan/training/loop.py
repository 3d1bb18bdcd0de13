"""train(): prepare the pairs, then for every step D -> G -> T; validate, and write checkpoints that can be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from deformgan.config import TrainConfig
from deformgan.registration.models import save_model
from deformgan.registration.progress import Show, silent
from deformgan.spatial.warp import warp
from deformgan.training.batches import Source
from deformgan.training.pictures import prepare_pairs
from deformgan.training.players import Players
from deformgan.training.run import CONFIG, Losses, Run, accelerator_for, begun, play, run_folder
from deformgan.training.steps import train_step
from deformgan.training.validation import score_of, validate

__all__ = ["CONFIG", "accelerator_for", "train"]


def train(config: TrainConfig, *, resume: bool = False, overwrite: bool = False, show: Show = silent) -> Run:
    """Train T, G and D as configured; the best T lies in FOLDER/model.safetensors afterwards.

    With `resume` an interrupted run goes on where its last whole checkpoint stands; on a CPU it ends bit for bit as if
    it had not been interrupted.  With `overwrite` the run in the folder is forgotten first.
    Under `accelerate launch` or torchrun all processes share each batch.
    Raises InputError, OutputError, and TrainingError naming a loss that is not finite.
    """
    accelerator = accelerator_for(config)
    with run_folder(config, accelerator, resume=resume, overwrite=overwrite):
        pairs = begun(config, accelerator, lambda tell: prepare_pairs(config.data, config.seed, tell), show)
        task = DeformGan(config, Source(config, pairs), Players.of(config, accelerator))
        return play(config, task, resume=resume, show=show)


class DeformGan:
    """The task: every step D, then G, then T on the same pairs.  It remembers nothing beside the networks."""

    turns = "D G T"

    def __init__(self, config: TrainConfig, source: Source, players: Players) -> None:
        self.players = players
        self._config, self._source = config, source
        self._held_out = source.validation() if players.accelerator.is_main_process else []

    def learn(self, step: int) -> Losses:
        """One step on this process' share of the batch."""
        accelerator = self.players.accelerator
        batches = self._source.batches(step, accelerator.process_index, accelerator.num_processes)
        return train_step(self.players, [b.to(accelerator.device) for b in batches], self._config.loss)

    def measure(self) -> dict[str, float]:
        """On the held-out pairs."""
        return validate(self.players, self._held_out, self._config.data.spacing_mm)

    def score(self, figures: dict[str, float]) -> float:
        """Less is better."""
        return score_of(figures)

    def keep(self, place: Path, figures: dict[str, float]) -> None:
        """Write all three networks."""
        save_model(place, self.players.weights(), self._config, figures)

    def memory(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Nothing."""

    @torch.no_grad()
    def picture(self) -> tuple[str, Tensor]:
        """The middle slices of fixed, moving, warped, synthesised and the displacement's length, side by side."""
        players = self.players
        batch = self._held_out[0].to(players.accelerator.device)
        players.transformation.eval()
        players.generator.eval()
        displacement = players.play("transformation", batch.fixed, batch.moving)
        warped = warp(batch.moving, displacement)
        length = displacement.norm(dim=1, keepdim=True)
        images = [
            batch.fixed,
            batch.moving,
            warped,
            players.play("generator", warped),
            length / length.max().clamp_min(1e-6),
        ]
        middle = batch.fixed.shape[2] // 2
        side_by_side = torch.cat([i[0, :, middle] for i in images], -1)
        return "fixed_moving_warped_synthesised_length", side_by_side.cpu()
