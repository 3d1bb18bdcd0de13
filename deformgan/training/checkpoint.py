"""Checkpoints: one safetensors file each, written whole or not at all, checked when read, nothing unpickled.

A file holds the weights of T, G and D and the states of their optimisers; its metadata the step, the configuration and
a hash of every tensor.  Learning rates, random numbers and the order of the data follow from the step and the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from deformgan.errors import InputError
from deformgan.io.tensor_files import ENDING, read_tensors, under, write_tensors
from deformgan.training.players import ROLES, Players

FORMAT = "deformgan-checkpoint-1"
FOLDER = "checkpoints"


def save_checkpoint(run: Path, players: Players, step: int, config: str, score: float, keep: int) -> None:
    """Write the state after `step` steps into run/checkpoints, and forget all but the last `keep`."""
    write_tensors(
        run / FOLDER / f"step-{step:08d}{ENDING}",
        _state(players),
        {"format": FORMAT, "step": str(step), "config": config, "best": repr(score)},
    )
    for old in saved(run)[keep:]:
        old.unlink(missing_ok=True)


def saved(run: Path) -> list[Path]:
    """Checkpoint files, newest first."""
    return sorted((run / FOLDER).glob(f"step-*{ENDING}"), reverse=True)


def forget_half_written(run: Path) -> None:
    """Remove what a process that was killed while writing left behind."""
    for folder in (run, run / FOLDER):
        for scratch in folder.glob(f".*{ENDING}"):
            scratch.unlink(missing_ok=True)


def load_newest(run: Path, players: Players) -> tuple[int, float, list[str]]:
    """(steps done, best score so far, what is wrong with files passed over); raises InputError where none is whole."""
    wrong: list[str] = []
    for path in saved(run):
        try:
            tensors, metadata = read_tensors(path)
        except InputError as error:
            wrong.append(str(error))
            continue
        _restore(players, tensors)
        return int(metadata["step"]), float(metadata["best"]), wrong
    if wrong:
        raise InputError(f"{run}: no checkpoint is whole: {wrong[0]}")
    return 0, float("inf"), []


def _state(players: Players) -> dict[str, Tensor]:
    """Every tensor that the next step depends on."""
    state = players.weights()
    for role in ROLES:
        network, optimiser = players.network(role), players.optimisers[role]
        for name, parameter in network.named_parameters():
            for part, value in optimiser.state.get(parameter, {}).items():
                state[f"optimiser.{role}.{name}:{part}"] = value
    return state


def _restore(players: Players, tensors: Mapping[str, Tensor]) -> None:
    for role in ROLES:
        network, optimiser = players.network(role), players.optimisers[role]
        try:
            network.load_state_dict(under(tensors, f"{role}."))
        except RuntimeError as error:
            raise InputError(f"the checkpoint does not fit the {role} network of the configuration: {error}") from error
        optimiser.state.clear()
        for name, parameter in network.named_parameters():
            parts = under(tensors, f"optimiser.{role}.{name}:")
            if parts:
                optimiser.state[parameter] = {
                    part: t.clone() if part == "step" else t.to(parameter).clone() for part, t in parts.items()
                }
