"""One step of the paired form: a conditional GAN with L1 and gradient consistency, y in MR, x its CT.

    L_D = the other side of L_adv
    L_G = adversarial * L_adv(G, D) + l1 * |G(y) - x| + gc * (1 - GC(x, G(y)))

D sees the MR beside the CT that it judges.  All is taken over what both images show; elsewhere D sees air in real and
made CT alike.  Source: Isola et al. 2017 (the conditional GAN with L1); GC after Penney et al. 1998, Hiasa et al. 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deformgan.config import ConditionalLossConfig
from deformgan.similarity.gradient import gradient_correlation_loss
from deformgan.similarity.pointwise import l1_loss
from deformgan.synthesis.batches import NOTHING, Batch
from deformgan.training.adversarial import discriminator_loss, generator_loss
from deformgan.training.players import Players, Terms
from deformgan.training.run import Losses


def train_step(players: Players, batches: Sequence[Batch], losses: ConditionalLossConfig) -> Losses:
    """D, then G on the same pairs -> the loss terms of each."""
    result = {"d": step_discriminator(players, batches, losses)} if losses.adversarial else {}
    return {**result, "g": step_generator(players, batches, losses)}


def step_discriminator(players: Players, batches: Sequence[Batch], losses: ConditionalLossConfig) -> dict[str, float]:
    """D learns to tell the real CT of an MR from the one made of it."""

    def terms(batch: Batch) -> Terms:
        with torch.no_grad():
            made = players.play("generator_ct", batch.mr)
        of_real = players.play("discriminator_ct", _covered(batch.ct, batch), batch.mr)
        of_made = players.play("discriminator_ct", _covered(made, batch), batch.mr)
        return {"adversarial": discriminator_loss(of_real, of_made, losses.form)}

    return players.learn("discriminator_ct", terms, batches, {"adversarial": 1.0})


def step_generator(players: Players, batches: Sequence[Batch], losses: ConditionalLossConfig) -> dict[str, float]:
    """G learns to make the CT of an MR."""
    weights = losses.model_dump(exclude={"form"})

    def terms(batch: Batch) -> Terms:
        made = players.play("generator_ct", batch.mr)
        found = {"l1": l1_loss(made, batch.ct, mask=batch.seen)}
        if losses.adversarial:
            score = players.play("discriminator_ct", _covered(made, batch), batch.mr)
            found["adversarial"] = generator_loss(score, losses.form)
        if losses.gc:
            found["gc"] = gradient_correlation_loss(made, batch.ct, mask=batch.seen)
        return found

    return players.learn("generator_ct", terms, batches, weights)


def _covered(ct: Tensor, batch: Batch) -> Tensor:
    return ct if batch.seen is None else (ct - NOTHING) * batch.seen + NOTHING
