"""train(): prepare the pairs, then for every step D -> G -> T; validate, and write checkpoints that can be resumed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from deformgan.config import TrainConfig, dump_config, read_dumped
from deformgan.errors import InputError, OutputError
from deformgan.registration.models import FILE, save_model
from deformgan.registration.progress import Progress, Show, silent
from deformgan.spatial.warp import warp
from deformgan.training.batches import Batch, Source
from deformgan.training.checkpoint import FOLDER, forget_half_written, load_newest, save_checkpoint
from deformgan.training.history import CURVES, History
from deformgan.training.history import FILE as HISTORY
from deformgan.training.pictures import prepare_pairs
from deformgan.training.players import Players
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
        pairs = prepare_pairs(config.data, config.seed, show)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        pairs = prepare_pairs(config.data, config.seed)  # from the cache that the first has filled
    source = Source(config, pairs)
    players = Players.of(config, accelerator)
    begun, best, warnings = load_newest(folder, players) if resume else (0, float("inf"), [])
    diary = Diary(config, players, source.validation(), begun, best, show) if accelerator.is_main_process else None
    for step in range(begun, training.steps):
        players.set_rates(step, training.steps)
        batches = source.batches(step, accelerator.process_index, accelerator.num_processes)
        losses = train_step(players, [b.to(accelerator.device) for b in batches], config.loss)
        if diary:
            diary.after(step + 1, losses)
    if diary:
        diary.close()
    accelerator.wait_for_everyone()
    return Run(folder, diary.figures if diary else {}, tuple(warnings), accelerator.is_main_process)


class Diary:
    """What the first process keeps of a run: history, figures on the held-out pairs, the best model, checkpoints."""

    def __init__(
        self, config: TrainConfig, players: Players, held_out: list[Batch], begun: int, best: float, show: Show
    ) -> None:
        self.figures: dict[str, float] = {}
        self._config, self._players, self._held_out, self._best, self._show = config, players, held_out, best, show
        self._history = History(config.folder, begun)

    def after(self, step: int, losses: dict[str, dict[str, float]]) -> None:
        """Note the losses of a step; validate and save where it is due."""
        training = self._config.training
        self._history.add(step, "losses", losses)
        self._show(Progress("train", "D G T", step, training.steps, sum(losses["t"].values())))
        last = step == training.steps
        if last or step % training.validate_every == 0:
            self._validate(step)
        if last or step % training.save_every == 0:
            text = self._config.model_dump_json()
            save_checkpoint(self._config.folder, self._players, step, text, self._best, training.keep)

    def close(self) -> None:
        """Everything is on disk afterwards."""
        self._history.close()

    def _validate(self, step: int) -> None:
        config, players = self._config, self._players
        self.figures = validate(players, self._held_out, config.data.spacing_mm)
        self._history.add(step, "validation", {"held_out": self.figures})
        if score_of(self.figures) < self._best:
            self._best = score_of(self.figures)
            save_model(config.folder / FILE, players.weights(), config, self.figures)
        if config.training.pictures:
            _add_pictures(self._history, step, players, self._held_out[0])


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
        if keys := _differing(read_dumped(there).model_dump(), config.model_dump()):
            raise InputError(f"{there}: the run began with another {', '.join(keys)}; resume as it was, or begin anew")
        forget_half_written(folder)
        return
    if there.exists():
        raise OutputError(f"{folder} holds a run already; use --resume, --overwrite, or another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there.write_text(dump_config(config), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], within: str = "") -> list[str]:
    """The keys, dots between, whose values are not the same."""
    found: list[str] = []
    for name, one in a.items():
        other, key = b[name], f"{within}{name}"
        if isinstance(one, Mapping):
            found += _differing(one, other, f"{key}.")
        elif one != other:
            found.append(key)
    return found


def forget(folder: Path) -> None:
    """Remove what a run wrote, and nothing else."""
    for name in (CONFIG, FILE, HISTORY):
        (folder / name).unlink(missing_ok=True)
    for name in (FOLDER, CURVES):
        shutil.rmtree(folder / name, ignore_errors=True)


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
        players.play("generator", warped),
        length / length.max().clamp_min(1e-6),
    ]
    middle = batch.fixed.shape[2] // 2
    history.picture(
        step, "fixed_moving_warped_synthesised_length", torch.cat([i[0, :, middle] for i in images], -1).cpu()
    )
