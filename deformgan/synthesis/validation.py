"""How near the synthesised CT comes to the real one on people that training does not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deformgan.config import SynthesisDataConfig
from deformgan.similarity.gradient import gradient_correlation_loss
from deformgan.similarity.windows import weighted_mean
from deformgan.synthesis.batches import Batch
from deformgan.synthesis.intensity import ct_window
from deformgan.training.players import Players


@torch.no_grad()
def validate(players: Players, batches: Sequence[Batch], data: SynthesisDataConfig) -> dict[str, float]:
    """Means over the batches; {} without any.

    mr_gc: gradient correlation of the MR and the CT made of it.  Of pairs, mae_hu: the mean distance to the real CT
    within the window, over what both show, and psnr_db = 20 log10(255 / sqrt(MSE)) on the paper's scale of 0 to 255.
    Without pairs, cycle_hu: the mean distance of a CT to itself by way of a made MR.
    """
    for network in players.networks.values():
        network.eval()
    rows = [_measured(players, batch.to(players.accelerator.device), data) for batch in batches]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}


def _measured(players: Players, batch: Batch, data: SynthesisDataConfig) -> dict[str, float]:
    made = players.play("generator_ct", batch.mr)
    found = {"mr_gc": 1 - float(gradient_correlation_loss(made, batch.mr))}
    if batch.seen is None:
        again = players.play("generator_ct", players.play("generator_mr", batch.ct))
        return found | {"cycle_hu": _distance_hu(again, batch.ct, None, data)}
    error = weighted_mean((127.5 * (made - batch.ct)).square(), batch.seen)
    psnr = 20 * torch.log10(255 / error.sqrt().clamp_min(1e-3))
    return found | {"mae_hu": _distance_hu(made, batch.ct, batch.seen, data), "psnr_db": float(psnr)}


def _distance_hu(one: Tensor, other: Tensor, seen: Tensor | None, data: SynthesisDataConfig) -> float:
    window = ct_window(data)
    return float(weighted_mean((one - other).abs(), seen)) * (window.high - window.low) / 2
