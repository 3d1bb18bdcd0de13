"""How near the synthesised CT comes to the real one on people that training does not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from deformgan.config import ViewConfig
from deformgan.similarity.gradient import gradient_correlation_loss
from deformgan.similarity.windows import weighted_mean
from deformgan.synthesis.batches import Batch
from deformgan.synthesis.intensity import made_window
from deformgan.training.players import Players


@torch.no_grad()
def validate(players: Players, batches: Sequence[Batch], view: ViewConfig) -> dict[str, float]:
    """Means over the batches; {} without any.

    mr_gc: gradient correlation of the MR and the CT made of it.  Of pairs, mae_hu: the mean distance to the real CT
    within the window, over what both show, and psnr_db = 20 log10(255 / sqrt(MSE)) on the paper's scale of 0 to 255.
    Without pairs, cycle_hu: the mean distance of a CT to itself by way of a made MR.  A "CT" without a window in HU
    has mae_percent and cycle_percent, of its robust range.
    """
    for network in players.networks.values():
        network.eval()
    rows = [_measured(players, batch.to(players.accelerator.device), view) for batch in batches]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}


def _measured(players: Players, batch: Batch, view: ViewConfig) -> dict[str, float]:
    made = players.play("generator_ct", batch.mr)
    window, unit = made_window("ct", view), "percent" if view.ct_window is None else "hu"
    scale = (window.high - window.low) / 2
    found = {"mr_gc": 1 - float(gradient_correlation_loss(made, batch.mr))}
    if batch.seen is None:
        again = players.play("generator_ct", players.play("generator_mr", batch.ct))
        return found | {f"cycle_{unit}": scale * float((again - batch.ct).abs().mean())}
    error = weighted_mean((127.5 * (made - batch.ct)).square(), batch.seen)
    psnr = 20 * torch.log10(255 / error.sqrt().clamp_min(1e-3))
    mae = scale * float(weighted_mean((made - batch.ct).abs(), batch.seen))
    return found | {f"mae_{unit}": mae, "psnr_db": float(psnr)}
