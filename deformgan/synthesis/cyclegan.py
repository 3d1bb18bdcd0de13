"""One step of CycleGAN with gradient consistency (Hiasa et al. 2018, Eq. 1-6), x in CT, y in MR.

    L_CT    = sum_x (D_CT(x) - 1)^2 + sum_y D_CT(G_CT(y))^2                          Eq. 1, least squares
    L_MR    = sum_y (D_MR(y) - 1)^2 + sum_x D_MR(G_MR(x))^2                          Eq. 2, least squares
    L_Cycle = sum_x |G_CT(G_MR(x)) - x| + sum_y |G_MR(G_CT(y)) - y|                  Eq. 3
    GC(A, B) = 1/2 (NCC(d_x A, d_x B) + NCC(d_y A, d_y B))                           Eq. 4
    L_GC    = 1/2 (sum_x (1 - GC(x, G_MR(x))) + sum_y (1 - GC(y, G_CT(y))))          Eq. 5
    L_total = L_CT + L_MR + cycle * L_Cycle + gc * L_GC                              Eq. 6

The generators want (D(G(.)) - 1)^2 small, as is usual, and learn together; then each discriminator learns, on half of
its loss as is usual.  Sums are means here: over the pixels and over the batch.  In 3-D, GC is the mean of three axes.
Ours: L_LG, which is L_GC with LG (Zhang et al. 2020), blind to the sign of the contrast, in place of GC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from deformgan.config import CycleganLossConfig
from deformgan.similarity.gradient import gradient_correlation_loss, local_gradient_loss
from deformgan.similarity.pointwise import l1_loss
from deformgan.synthesis.batches import Batch
from deformgan.synthesis.pool import ImagePool
from deformgan.training.adversarial import discriminator_loss, generator_loss
from deformgan.training.players import Players, Terms
from deformgan.training.run import Losses

Kind = Literal["ct", "mr"]
KINDS: tuple[Kind, ...] = ("ct", "mr")
Fakes = Mapping[Kind, list[Tensor]]  # of each part of the batch


def train_step(
    players: Players, batches: Sequence[Batch], losses: CycleganLossConfig, pools: Mapping[Kind, ImagePool], step: int
) -> Losses:
    """Both generators, then D_CT, then D_MR -> the loss terms of each turn."""
    found, fakes = step_generators(players, batches, losses)
    result = {
        f"d_{kind}": step_discriminator(players, kind, batches, shown(players, fakes[kind], pools[kind], step), losses)
        for kind in KINDS
    }
    return {**result, "g": found}


def step_generators(
    players: Players, batches: Sequence[Batch], losses: CycleganLossConfig
) -> tuple[dict[str, float], Fakes]:
    """G_CT and G_MR learn; what they made comes along, for the discriminators."""
    fakes: Fakes = {"ct": [], "mr": []}
    weights = {
        "adversarial_ct": losses.adversarial,
        "adversarial_mr": losses.adversarial,
        "cycle": losses.cycle,
        "gc": losses.gc,
        "lg": losses.lg,
    }

    def terms(batch: Batch) -> Terms:
        x, y = batch.ct, batch.mr
        made_ct, made_mr = players.play("generator_ct", y), players.play("generator_mr", x)
        found = {}
        if losses.adversarial:
            found["adversarial_ct"] = generator_loss(players.play("discriminator_ct", made_ct), losses.form)
            found["adversarial_mr"] = generator_loss(players.play("discriminator_mr", made_mr), losses.form)
        if losses.cycle:
            again_ct, again_mr = players.play("generator_ct", made_mr), players.play("generator_mr", made_ct)
            found["cycle"] = l1_loss(again_ct, x) + l1_loss(again_mr, y)
        if losses.gc:
            found["gc"] = (gradient_correlation_loss(made_mr, x) + gradient_correlation_loss(made_ct, y)) / 2
        if losses.lg:
            found["lg"] = (local_gradient_loss(made_mr, x) + local_gradient_loss(made_ct, y)) / 2
        fakes["ct"].append(made_ct.detach())
        fakes["mr"].append(made_mr.detach())
        return found

    return players.learn(("generator_ct", "generator_mr"), terms, batches, weights), fakes


def step_discriminator(
    players: Players, kind: Kind, batches: Sequence[Batch], fakes: Sequence[Tensor], losses: CycleganLossConfig
) -> dict[str, float]:
    """D_CT or D_MR learns to tell real slices from the fakes it is shown."""
    role = f"discriminator_{kind}"

    def terms(part: tuple[Batch, Tensor]) -> Terms:
        batch, fake = part
        real, made = players.play(role, getattr(batch, kind)), players.play(role, fake)
        return {"adversarial": discriminator_loss(real, made, losses.form)}

    return players.learn(role, terms, list(zip(batches, fakes, strict=True)), {"adversarial": 1.0})


def shown(players: Players, fakes: Sequence[Tensor], pool: ImagePool, step: int) -> list[Tensor]:
    """This process' share of the fakes after the exchange; every process keeps the same pool, of all their fakes."""
    accelerator = players.accelerator
    together = pool.exchanged(accelerator.gather(torch.cat(list(fakes))), step)
    count = sum(len(f) for f in fakes)
    own = together[accelerator.process_index * count : (accelerator.process_index + 1) * count]
    return list(own.split([len(f) for f in fakes]))
