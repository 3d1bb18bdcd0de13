"""One step of Deform-GAN: D, then G, then T (Zhang et al. 2020).

R = fixed, F = moving, phi(x) = x + u(x), F(phi) = warped, F' = G(F(phi)) = synthesised.

    L_D = the other side of L_adv
    L_G = adversarial * L_adv(G, D) + mu * (1 - LG(F', F(phi))) + lambda * L1(F', R)
    L_T = lcc * (1 - LCC(R, F')) + beta * (1 - LG(R, F(phi))) + alpha * L_smooth(u)

mu, lambda, beta and alpha are loss.generator.lg, loss.generator.l1, loss.transformation.lg and .smooth in the
configuration.  LG, LCC and L1 are means over what both images show.  Deviations from the paper: LCC is squared, so that
it is blind to the sign of the contrast, D judges F' and not F(phi), and T may be told the truth (`truth`, `dice`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from deformgan.config import LossConfig, TransformationWeights
from deformgan.similarity.gradient import local_gradient_loss
from deformgan.similarity.objective import Objective, Options
from deformgan.similarity.pointwise import l1_loss
from deformgan.similarity.smoothness import diffusion_loss, folding_loss
from deformgan.similarity.windows import weighted_mean
from deformgan.spatial.warp import warp
from deformgan.training.adversarial import discriminator_loss, generator_loss
from deformgan.training.batches import Batch
from deformgan.training.known_warps import remaining
from deformgan.training.players import Players, Terms

DIRECT = {"lg": "lg", "gc": "gc", "mi": "mi", "direct_lcc": "lcc"}  # weight of T -> similarity of R and F(phi)
LABELS_AT_ONCE = 8  # drawn for the overlap; all of them at once would not fit


class View(NamedTuple):
    """What D and G see of a batch: R, F(phi), and 1 where both show something; each (B, 1, *spatial)."""

    fixed: Tensor
    warped: Tensor
    seen: Tensor


def train_step(players: Players, batches: Sequence[Batch], losses: LossConfig) -> dict[str, dict[str, float]]:
    """D, then G, then T on the same pairs -> each network's loss terms.

    T learns alone on generated pairs, whose contrasts mean nothing, and where no loss of T asks for G.
    """
    if batches[0].generated or not asks_for_generator(losses):
        return {"t": step_transformation(players, batches, losses)}
    views = [view(players, batch) for batch in batches]  # of both steps: T stands still in either
    return {
        "d": step_discriminator(players, views, losses),
        "g": step_generator(players, views, losses),
        "t": step_transformation(players, batches, losses),
    }


def asks_for_generator(losses: LossConfig) -> bool:
    """Whether T learns from what G makes; else G and D are left as they began."""
    return losses.transformation.lcc > 0


def step_discriminator(players: Players, views: Sequence[View], losses: LossConfig) -> dict[str, float]:
    """D learns to tell the fixed image from the synthesised one."""

    def terms(v: View) -> Terms:
        with torch.no_grad():
            synthesised = players.play("generator", v.warped)
        real = players.play("discriminator", v.fixed * v.seen, v.warped * v.seen)
        made = players.play("discriminator", synthesised * v.seen, v.warped * v.seen)
        return {"adversarial": discriminator_loss(real, made, losses.adversarial)}

    return players.learn("discriminator", terms, views, {"adversarial": 1.0})


def step_generator(players: Players, views: Sequence[View], losses: LossConfig) -> dict[str, float]:
    """G learns to look like the fixed image without moving the edges of the warped one."""
    weights = losses.generator.model_dump()

    def terms(v: View) -> Terms:
        synthesised = players.play("generator", v.warped)
        found = {"l1": l1_loss(synthesised, v.fixed, mask=v.seen)}
        if weights["adversarial"]:
            score = players.play("discriminator", synthesised * v.seen, v.warped * v.seen)
            found["adversarial"] = generator_loss(score, losses.adversarial)
        if weights["lg"]:
            found["lg"] = local_gradient_loss(synthesised, v.warped, size=losses.window, mask=v.seen)
        return found

    return players.learn("generator", terms, views, weights)


def step_transformation(players: Players, batches: Sequence[Batch], losses: LossConfig) -> dict[str, float]:
    """T learns to bring the edges of the moving image, and what G makes of it, onto the fixed one."""
    weights = losses.transformation

    def terms(batch: Batch) -> Terms:
        displacement = players.play("transformation", batch.fixed, batch.moving)
        warped, seen = warped_by(batch, displacement)
        found = {"smooth": diffusion_loss(displacement)}
        if weights.folding:
            found["folding"] = folding_loss(displacement)
        if not batch.generated:
            found |= _similarity(players, batch, warped, seen, losses)
        return found | _truth(batch, displacement, weights)

    return players.learn("transformation", terms, batches, weights.model_dump())


@torch.no_grad()
def view(players: Players, batch: Batch) -> View:
    """The pair after T as it stands."""
    players.transformation.eval()
    return View(batch.fixed, *warped_by(batch, players.play("transformation", batch.fixed, batch.moving)))


def warped_by(batch: Batch, displacement: Tensor) -> tuple[Tensor, Tensor]:
    """(F(phi), 1 where both images show something), each (B, 1, *spatial)."""
    warped = warp(batch.moving, displacement)
    with torch.no_grad():
        seen = (warp(batch.moving_valid, displacement) > 0.5).float() * batch.fixed_valid
    return warped, seen


def _similarity(players: Players, batch: Batch, warped: Tensor, seen: Tensor, losses: LossConfig) -> dict[str, Tensor]:
    """LCC of R and F', and what is asked for of R and F(phi)."""
    weights, found = losses.transformation.model_dump(), {}
    if weights["lcc"]:
        term = Objective({"lcc": 1.0}, batch.fixed, options=Options(window=losses.lcc_window))
        found["lcc"] = term(players.play("generator", warped), seen)[0]
    for name, similarity in DIRECT.items():
        if weights[name]:
            options = Options(window=losses.lcc_window if similarity == "lcc" else losses.window)
            found[name] = Objective({similarity: 1.0}, batch.fixed, options=options)(warped, seen)[0]
    return found


def _truth(batch: Batch, displacement: Tensor, weights: TransformationWeights) -> dict[str, Tensor]:
    """What a planted warp and labels tell, where there are any."""
    found = {}
    if weights.truth and batch.known is not None:
        off = remaining(displacement, batch.known).square().sum(1, keepdim=True)
        found["truth"] = weighted_mean(off, batch.tissue, None)
    if weights.dice and batch.fixed_labels is not None and batch.moving_labels is not None:
        found["dice"] = _overlap_loss(batch.fixed_labels, batch.moving_labels, displacement, batch.seeds)
    return found


def _overlap_loss(fixed: Tensor, moving: Tensor, displacement: Tensor, seeds: Sequence[int]) -> Tensor:
    """1 - mean Dice of a few labels of each pair, drawn anew each time, the moving ones warped linearly."""
    losses = []
    for b, seed in enumerate(seeds):
        there = torch.unique(fixed[b][fixed[b] > 0])
        order = torch.randperm(len(there), generator=torch.Generator().manual_seed(seed))[:LABELS_AT_ONCE]
        chosen = there[order.to(there.device)].view(1, -1, *[1] * (fixed.ndim - 2))
        one = displacement[b : b + 1]
        if chosen.numel() == 0:
            losses.append(one.sum() * 0)
            continue
        a, warped = (fixed[b : b + 1] == chosen).float(), warp((moving[b : b + 1] == chosen).float(), one)
        over = tuple(range(2, a.ndim))
        dice = (2 * (a * warped).sum(over) + 1e-3) / (a.square().sum(over) + warped.square().sum(over) + 1e-3)
        losses.append(1 - dice.mean())
    return torch.stack(losses).mean()
