"""train(): prepare the pairs, then for every step D -> G -> T; validate, and write checkpoints that can be resumed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from deformgan.config import TrainConfig, dump_config
from deformgan.errors import InputError, OutputError
from deformgan.registration.models import FILE, save_model
from deformgan.registration.progress import Progress, Show, silent
from deformgan.spatial.warp import warp
from deformgan.training.batches import Batch, Source
from deformgan.training.checkpoint import load_newest, save_checkpoint
from deformgan.training.history import CURVES, History
from deformgan.training.pictures import prepare_pairs
from deformgan.training.players import ROLES, Players
from deformgan.training.steps import train_step
from deformgan.training.validation import score_of, validate

CONFIG = "config.yaml"


@dataclass(frozen=True)
class Run:
    """What a finished run was: its folder, the last figures on the held-out pairs, and what went wrong on the way.

    first: this is the first of several processes, which speaks for all.
    """

    folder: Path
    figures: dict[str, float]
    warnings: tuple[str, ...] = ()
    first: bool = True


def train(config: TrainConfig, *, resume: bool = False, show: Show = silent) -> Run:
    """Train T, G and D as configured; the best T lies in FOLDER/model.safetensors afterwards.

    With `resume` an interrupted run goes on where its last whole checkpoint stands; on a CPU it ends bit for bit as if
    it had not been interrupted.  Under `accelerate launch` or torchrun all processes share each batch.
    Raises InputError, OutputError, and TrainingError naming a loss that is not finite.
    """
    accelerator = accelerator_for(config)
    folder, training = config.folder, config.training
    if accelerator.is_main_process:
        _claim(folder, config, resume=resume)
        prepare_pairs(config.data, config.seed, show)
    accelerator.wait_for_everyone()
    source = Source(config, prepare_pairs(config.data, config.seed))
    players = Players.of(config, accelerator)
    begun, best, warnings = load_newest(folder, players) if resume else (0, float("inf"), [])
    history = History(folder, begun) if accelerator.is_main_process else None
    held_out, figures = source.validation(), {}
    for step in range(begun, training.steps):
        players.set_rates(step, training.steps)
        batches = source.batches(step, accelerator.process_index, accelerator.num_processes)
        losses = train_step(players, [b.to(accelerator.device) for b in batches], config.loss)
        done = step + 1
        if history:
            history.add(done, "losses", losses)
            show(Progress("train", "D G T", done, training.steps, sum(losses["t"].values())))
            if done % training.validate_every == 0 or done == training.steps:
                figures = validate(players, held_out, config.data.spacing_mm)
                history.add(done, "validation", {"held_out": figures})
                if score_of(figures) < best:
                    best = score_of(figures)
                    save_model(folder / FILE, _weights(players), config, figures)
                if training.pictures:
                    _add_pictures(history, done, players, held_out[0])
            if done % training.save_every == 0 or done == training.steps:
                save_checkpoint(folder, players, done, config.model_dump_json(), best, training.keep)
    if history:
        history.close()
    accelerator.wait_for_everyone()
    return Run(folder, figures, tuple(warnings), accelerator.is_main_process)


def accelerator_for(config: TrainConfig) -> Accelerator:
    """Device, precision and processes of a run.  Raises InputError where the batch cannot be shared out."""
    training = config.training
    AcceleratorState._reset_state()  # it keeps the first run's precision for the whole process otherwise
    accelerator = Accelerator(cpu=training.device == "cpu", mixed_precision=training.precision)
    parts = accelerator.num_processes * training.accumulate
    if training.batch % parts:
        raise InputError(
            f"training.batch is {training.batch}; it must be a multiple of processes times accumulate, {parts}"
        )
    return accelerator


def _claim(folder: Path, config: TrainConfig, *, resume: bool) -> None:
    """Write the configuration into the run's folder, or compare it with the one there."""
    there = folder / CONFIG
    if resume:
        if not there.exists():
            raise InputError(f"{folder}: no run to resume; leave --resume out to begin one")
        if there.read_text(encoding="utf-8") != dump_config(config):
            raise InputError(f"{there} differs from the configuration given; resume with that file, or begin anew")
        return
    if there.exists():
        raise OutputError(f"{folder} holds a run already; use --resume, --overwrite, or another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there.write_text(dump_config(config), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error


def forget(folder: Path) -> None:
    """Remove what a run wrote, and nothing else."""
    from deformgan.training.checkpoint import FOLDER
    from deformgan.training.history import FILE as HISTORY

    for name in (CONFIG, FILE, HISTORY):
        (folder / name).unlink(missing_ok=True)
    for name in (FOLDER, CURVES):
        shutil.rmtree(folder / name, ignore_errors=True)


def _weights(players: Players) -> dict[str, Tensor]:
    return {f"{role}.{name}": t for role in ROLES for name, t in players.network(role).state_dict().items()}


@torch.no_grad()
def _add_pictures(history: History, step: int, players: Players, batch: Batch) -> None:
    """The middle slices of fixed, moving, warped, synthesised and the displacement's length, side by side."""
    batch = batch.to(players.accelerator.device)
    players.transformation.eval()
    players.generator.eval()
    displacement = players.play("transformation", batch.fixed, batch.moving)
    warped = warp(batch.moving, displacement)
    length = displacement.norm(dim=1, keepdim=True)
    images = [
        batch.fixed,
        batch.moving,
        warped,
        players.generator.eval()(warped),
        length / length.max().clamp_min(1e-6),
    ]
    middle = batch.fixed.shape[2] // 2
    history.picture(
        step, "fixed_moving_warped_synthesised_length", torch.cat([i[0, :, middle] for i in images], -1).cpu()
    )
