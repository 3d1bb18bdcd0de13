"""What the training of every task does: a folder to write into, steps, validation, checkpoints that can be resumed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from deformgan.config import Experiment, dump_config, read_dumped
from deformgan.errors import InputError, OutputError
from deformgan.io.whole_file import whole_file
from deformgan.io.workplace import check_space, workplace
from deformgan.registration.models import FILE as MODEL
from deformgan.registration.progress import Progress, Show, silent
from deformgan.training.checkpoint import FOLDER, Stand, load_newest, save_checkpoint, saved, state_bytes
from deformgan.training.history import CURVES, History
from deformgan.training.history import FILE as HISTORY
from deformgan.training.players import Players

CONFIG = "config.yaml"
Losses = dict[str, dict[str, float]]
Data = TypeVar("Data")


class Task(Protocol):
    """What is particular to a kind of training.

    players: its networks.  turns: who learns in a step, for the progress line; the losses of the last are shown.
    """

    players: Players
    turns: str

    def learn(self, step: int) -> Losses:
        """Step number `step`, from 0; the loss terms of each turn."""

    def measure(self) -> dict[str, float]:
        """Figures on held-out data."""

    def score(self, figures: dict[str, float]) -> float | None:
        """What the best model is chosen by, less is better; None: the newest is the best."""

    def keep(self, place: Path, figures: dict[str, float]) -> None:
        """Write the model."""

    def picture(self) -> tuple[str, Tensor] | None:
        """A name, and (1, height, width) in [0, 1]."""

    def memory(self) -> dict[str, Tensor]:
        """What later steps depend on beside the networks."""

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """The memory of a checkpoint."""


@dataclass(frozen=True)
class Run:
    """What a finished run was: its folder, the last figures on the held-out data, and what went wrong on the way.

    first: this is the first of several processes, which speaks for all.
    """

    folder: Path
    figures: dict[str, float]
    warnings: tuple[str, ...] = ()
    first: bool = True


def play(config: Experiment, task: Task, *, resume: bool = False, show: Show = silent) -> Run:
    """All steps of a task, from the beginning or from the last whole checkpoint; see `training.loop.train`."""
    accelerator, steps = task.players.accelerator, config.training.steps
    stand, warnings = load_newest(config.folder, task.players) if resume else (Stand(), [])
    task.recall(stand.memory)
    diary = Diary(config, task, stand, show) if accelerator.is_main_process else None
    for step in range(stand.step, steps):
        task.players.set_rates(step, steps)
        losses = task.learn(step)
        if diary:
            diary.after(step + 1, losses)
    if diary:
        diary.close()
    accelerator.wait_for_everyone()
    accelerator.end_training()  # the processes part from each other: the command leaves without taking itself down
    return Run(config.folder, diary.figures if diary else {}, tuple(warnings), accelerator.is_main_process)


class Diary:
    """What the first process keeps of a run: history, figures on the held-out data, the best model, checkpoints."""

    def __init__(self, config: Experiment, task: Task, stand: Stand, show: Show) -> None:
        self.figures: dict[str, float] = {}
        self._config, self._task, self._best, self._show = config, task, stand.best, show
        to_come = config.training.keep + 1 - len(saved(config.folder))
        check_space(config.folder, max(1, to_come) * state_bytes(task.players))
        self._history = History(config.folder, stand.step)

    def after(self, step: int, losses: Losses) -> None:
        """Note the losses of a step; validate and save where it is due."""
        training, task = self._config.training, self._task
        self._history.add(step, "losses", losses)
        shown = sum(list(losses.values())[-1].values())
        self._show(Progress("train", task.turns, step, training.steps, shown))
        last = step == training.steps
        if last or step % training.validate_every == 0:
            self._validate(step)
        if last or step % training.save_every == 0:
            stand, text = Stand(step, self._best, task.memory()), self._config.model_dump_json()
            save_checkpoint(self._config.folder, task.players, stand, text, training.keep)

    def close(self) -> None:
        """Everything is on disk afterwards."""
        self._history.close()

    def _validate(self, step: int) -> None:
        task = self._task
        self.figures = task.measure()
        self._history.add(step, "validation", {"held_out": self.figures})
        score = task.score(self.figures)
        if score is None or score < self._best:
            self._best = self._best if score is None else score
            task.keep(self._config.folder / MODEL, self.figures)
        picture = task.picture() if self._config.training.pictures else None
        if picture is not None:
            self._history.picture(step, *picture)


def accelerator_for(config: Experiment) -> Accelerator:
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


@contextmanager
def run_folder(config: Experiment, accelerator: Accelerator, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Claim the run's folder, for the first process alone.  Raises InputError, OutputError."""
    if not accelerator.is_main_process:
        yield
        return
    with workplace(config.folder, alone=True):
        if overwrite and not resume:
            forget(config.folder)
        _claim(config.folder, config, resume=resume)
        yield


def begun(config: Experiment, accelerator: Accelerator, prepare: Callable[[Show], Data], show: Show) -> Data:
    """Prepare the data: the first process alone, then the others from its cache."""
    if accelerator.is_main_process:
        data = prepare(show)
    accelerator.wait_for_everyone()
    return data if accelerator.is_main_process else prepare(silent)


def _claim(folder: Path, config: Experiment, *, resume: bool) -> None:
    """Write the configuration into the run's folder, or compare it with the one there."""
    there = folder / CONFIG
    if resume:
        if not there.exists():
            raise InputError(f"{folder}: no run to resume; leave --resume out to begin one")
        before = read_dumped(there)
        keys = _differing(before.model_dump(), config.model_dump()) if before.task == config.task else ["task"]
        if keys:
            raise InputError(f"{there}: the run began with another {', '.join(keys)}; resume as it was, or begin anew")
        return
    if there.exists():
        raise OutputError(f"{folder} holds a run already; use --resume, --overwrite, or another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    with whole_file(there) as scratch:
        scratch.write_text(dump_config(config), encoding="utf-8")


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
    for name in (CONFIG, MODEL, HISTORY):
        (folder / name).unlink(missing_ok=True)
    for name in (FOLDER, CURVES):
        shutil.rmtree(folder / name, ignore_errors=True)
