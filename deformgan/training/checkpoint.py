"""Checkpoints: one safetensors file each, written whole or not at all, checked when read, nothing unpickled.

A file holds the weights of all networks, the states of their optimisers and what else a task has to remember; its
metadata the step, the configuration and a hash of every tensor.  Learning rates, random numbers and the order of the
data follow from the step and the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from deformgan.errors import InputError
from deformgan.io.tensor_files import ENDING, read_tensors, under, write_tensors
from deformgan.training.players import Players

FORMAT = "deformgan-checkpoint-1"
FOLDER = "checkpoints"
MEMORY = "memory."  # before the names of what a task remembers


@dataclass(frozen=True)
class Stand:
    """Where a run stands: steps done, the best score so far, and what its task remembers beside the networks."""

    step: int = 0
    best: float = float("inf")
    memory: Mapping[str, Tensor] = field(default_factory=dict)


def save_checkpoint(run: Path, players: Players, stand: Stand, config: str, keep: int) -> None:
    """Write the state into run/checkpoints, and forget all but the last `keep`."""
    write_tensors(
        run / FOLDER / f"step-{stand.step:08d}{ENDING}",
        _state(players) | {f"{MEMORY}{name}": t for name, t in stand.memory.items()},
        {"format": FORMAT, "step": str(stand.step), "config": config, "best": repr(stand.best)},
    )
    for old in saved(run)[keep:]:
        old.unlink(missing_ok=True)


def saved(run: Path) -> list[Path]:
    """Checkpoint files, newest first."""
    return sorted((run / FOLDER).glob(f"step-*{ENDING}"), reverse=True)


def state_bytes(players: Players) -> int:
    """What a checkpoint takes on the disk, about: each weight, and Adam's two moments of it."""
    return 3 * sum(t.numel() * t.element_size() for t in players.weights().values())


def load_newest(run: Path, players: Players) -> tuple[Stand, list[str]]:
    """The newest whole state, put into the players, and what is wrong with files passed over.

    Raises InputError where none is whole.
    """
    wrong: list[str] = []
    for path in saved(run):
        try:
            tensors, metadata = read_tensors(path)
            stand = _stand(path, tensors, metadata)
        except InputError as error:
            wrong.append(str(error))
            continue
        _restore(players, tensors, path)
        return stand, wrong
    if wrong:
        raise InputError(f"{run}: no checkpoint is whole: {wrong[0]}")
    return Stand(), []


def _stand(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Stand:
    try:
        if metadata["format"] != FORMAT:
            raise ValueError
        return Stand(int(metadata["step"]), float(metadata["best"]), under(tensors, MEMORY))
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not a checkpoint of a training run") from error


def _state(players: Players) -> dict[str, Tensor]:
    """Every tensor that the next step depends on."""
    state = players.weights()
    for role, network in players.networks.items():
        optimiser = players.optimisers[role]
        for name, parameter in network.named_parameters():
            for part, value in optimiser.state.get(parameter, {}).items():
                state[f"optimiser.{role}.{name}:{part}"] = value
    return state


def _restore(players: Players, tensors: Mapping[str, Tensor], path: Path) -> None:
    for role, network in players.networks.items():
        optimiser = players.optimisers[role]
        try:
            network.load_state_dict(under(tensors, f"{role}."))
        except RuntimeError as error:
            raise InputError(
                f"{path}: does not fit the {role} network of the configuration; is it of another run?"
            ) from error
        optimiser.state.clear()
        for name, parameter in network.named_parameters():
            parts = under(tensors, f"optimiser.{role}.{name}:")
            if parts:
                optimiser.state[parameter] = {
                    part: t.clone() if part == "step" else t.to(parameter).clone() for part, t in parts.items()
                }
