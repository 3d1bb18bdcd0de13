"""How well T does on pairs that it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deformgan.similarity.objective import Objective
from deformgan.spatial.jacobian import regularity
from deformgan.spatial.warp import warp
from deformgan.training.batches import Batch
from deformgan.training.known_warps import remaining
from deformgan.training.players import Players


def validate(players: Players, batches: Sequence[Batch], spacing_mm: float) -> dict[str, float]:
    """Means over the held-out pairs, before and after T: distance to the truth (mm), Dice, MI loss; folding, SD log J.

    The distance is taken over the tissue that both images show, where a planted warp is the truth.
    """
    rows = [_measured(players, batch.to(players.accelerator.device), spacing_mm) for batch in batches]
    names = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


def score_of(figures: dict[str, float]) -> float:
    """What the best checkpoint is chosen by, less is better: distance to the truth, else 1 - Dice, else the MI loss."""
    for name, value in (("tre_mm", 1.0), ("dice", -1.0), ("mi_loss", 1.0)):
        if name in figures:
            return value * figures[name]
    return 0.0


@torch.no_grad()
def _measured(players: Players, batch: Batch, spacing_mm: float) -> dict[str, float]:
    players.transformation.eval()
    displacement = players.play("transformation", batch.fixed, batch.moving)
    still = torch.zeros_like(displacement)
    found: dict[str, float] = {}
    for end, u in (("_before", still), ("", displacement)):
        seen = warp(batch.moving_valid, u) * batch.tissue
        if batch.known is not None:
            distance = spacing_mm * remaining(u, batch.known).norm(dim=1, keepdim=True)
            found["tre_mm" + end] = float((distance * seen).sum() / seen.sum().clamp_min(1))
        if batch.fixed_labels is not None and batch.moving_labels is not None:
            found["dice" + end] = mean_dice(batch.fixed_labels, warp(batch.moving_labels, u, mode="nearest"))
        mi = Objective({"mi": 1.0}, batch.fixed)
        found["mi_loss" + end] = float(mi(warp(batch.moving, u), seen)[0])
    return found | {k: v for k, v in regularity(displacement).items() if k in ("folding_percent", "sd_log_jacobian")}


def mean_dice(fixed: Tensor, moving: Tensor) -> float:
    """Mean over the labels (not 0) that `fixed` has; both whole numbers of one shape."""
    top = int(max(fixed.max(), moving.max())) + 1
    a, b = (torch.bincount(x.flatten(), minlength=top)[1:].double() for x in (fixed, moving))
    both = torch.bincount(fixed[fixed == moving].flatten(), minlength=top)[1:].double()
    there = a > 0
    return float((2 * both / (a + b).clamp_min(1))[there].mean()) if bool(there.any()) else 0.0
